// For tests: records to compare.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "records/test_records.h"

namespace marlin::test {

// The seven rows with a mean KL of 0.02 nats each.
inline std::vector<StoredRecord> DivergingRecords(Scene scene = {}) {
  std::vector<StoredRecord> records = SevenRecords(scene);
  for (std::size_t i = 1; i < records.size(); ++i) {
    record::Divergence& x = records[i].record.divergence.emplace(MakeDivergence(scene, SevenShapes()[i]));
    std::fill(x.window_kl.begin(), x.window_kl.end(), 511 * 0.02);
  }
  return records;
}

inline void AddNll(StoredRecord& stored, double nats_per_token, double spread = 0) {
  Rng rng(77);
  for (double& sum : stored.record.perplexity->window_nll) sum += 511 * (nats_per_token + spread * rng.Normal());
}

// Two folders: a row that only A has, one that only B has, one without a figure in both, one without a speed in B.
inline std::pair<std::vector<StoredRecord>, std::vector<StoredRecord>> PartlyComparable() {
  auto a = DivergingRecords();
  auto b = DivergingRecords();
  a.erase(a.begin() + 1);                                // fp4-g32: only in B
  b.erase(b.begin() + 6);                                // int4-g128: only in A
  for (Record* record : {&a[1].record, &b[2].record}) {  // fp4-g64 has nothing left that both measured
    record->divergence.reset();
    record->throughput.reset();
  }
  a[1].record.perplexity.reset();
  b[2].record.perplexity.reset();
  b[3].record.throughput.reset();
  return {a, b};
}

}  // namespace marlin::test
