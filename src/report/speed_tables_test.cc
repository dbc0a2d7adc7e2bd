#include "report/speed_tables.h"

#include <gtest/gtest.h>

#include "report/markdown.h"

namespace marlin {
namespace {

std::vector<ThroughputRow> TwoRows() {
  ThroughputRow pp;
  pp.model = "Smol|LM";
  pp.path = "./a, \"b\"";
  pp.weights = "fp4-g128";
  pp.kernels = "avx512/fp4; head avx512/bf16";
  pp.threads = 2;
  pp.test = "pp512";
  pp.mean_tok_s = 812.34;
  pp.deviation_tok_s = 4.567;
  pp.median_tok_s = 813;
  pp.gflops = 172.6;
  pp.limit = LimitShare{0.387, "fp32 peak"};
  ThroughputRow tg = pp;
  tg.test = "tg128";
  tg.mean_tok_s = 132.5;
  tg.deviation_tok_s = 0.25;
  tg.unstable = true;
  tg.median_tok_s = 132;
  tg.gflops.reset();
  tg.weight_bytes = 111500000;
  tg.gbps = 14.718;
  tg.limit.reset();
  return {pp, tg};
}

TEST(ThroughputTable, SaysWhatAppliesAndWhatWasNotMeasured) {
  EXPECT_EQ(
      ToMarkdown(ThroughputTable(TwoRows())),
      "| model | weights | threads | test | tok/s | median | MB/token | GB/s | GFLOP/s | share of limit | remark | "
      "kernels |\n"
      "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |\n"
      "| Smol&#124;LM | fp4-g128 | 2 | pp512 | 812 ± 4.57 | 813 |  |  | 173 | 39 % of fp32 peak |  | avx512/fp4; "
      "head avx512/bf16 |\n"
      "| Smol&#124;LM | fp4-g128 | 2 | tg128 | 132 ± 0.250 | 132 | 111.5 | 14.7 |  | not measured | unstable | "
      "avx512/fp4; "
      "head avx512/bf16 |\n");
}

TEST(ThroughputTable, OfOneRunThereIsNoDeviation) {
  std::vector<ThroughputRow> rows = TwoRows();
  for (ThroughputRow& row : rows) row.deviation_tok_s.reset();
  rows[0].limit->share = 1.1;
  rows[1].busy = true;
  const std::string table = ToMarkdown(ThroughputTable(rows));
  EXPECT_EQ(table.find("±"), std::string::npos) << table;
  EXPECT_NE(table.find("| pp512 | 812 | 813 |"), std::string::npos) << table;
  EXPECT_NE(table.find("110 % of fp32 peak | above the limit that was measured |"), std::string::npos) << table;
  EXPECT_NE(table.find("| unstable, busy machine |"), std::string::npos) << table;
}

TEST(ThroughputCsv, KeepsEveryDigitAndQuotes) {
  EXPECT_EQ(ThroughputCsv(TwoRows()),
            "model,path,weights,threads,test,mean_tok_s,deviation_tok_s,median_tok_s,weight_bytes_per_token,gbps,"
            "gflops,limit_share,limit,remark,kernels\n"
            "Smol|LM,\"./a, \"\"b\"\"\",fp4-g128,2,pp512,812.34,4.567,813,,,172.6,0.387,fp32 peak,,avx512/fp4; head "
            "avx512/bf16\n"
            "Smol|LM,\"./a, \"\"b\"\"\",fp4-g128,2,tg128,132.5,0.25,132,111500000,14.718,,,,unstable,avx512/fp4; head "
            "avx512/bf16\n");
}

TEST(KernelSpeedTable, HasAShareAndRemarks) {
  KernelSpeed x;
  x.m = 16;
  x.format = "fp4-g128";
  x.kernel = "avx512/fp4";
  x.us = 250;
  x.flops = 33.5e6;
  x.bytes = 8.7e6;
  x.limit = LimitShare{0.43, "read bandwidth"};
  x.max_error = 3.2e-7;
  KernelSpeed y = x;
  y.limit.reset();
  y.in_cache = y.unstable = true;
  EXPECT_EQ(ToPlainText(KernelSpeedTable(std::vector<KernelSpeed>{x, y})),
            " m  format    kernel       us  GFLOP/s  GB/s          share of limit  max error  remark\n"
            "--  --------  ----------  ---  -------  ----  ----------------------  ---------  ------------------\n"
            "16  fp4-g128  avx512/fp4  250      134  34.8  43 % of read bandwidth    3.2e-07\n"
            "16  fp4-g128  avx512/fp4  250      134  34.8            not measured    3.2e-07  in cache, unstable\n");
}

TEST(KernelSpeedTable, ComparesWithTheReference) {
  KernelSpeed x;
  x.m = 1;
  x.format = "fp4-g128";
  x.kernel = "cuda/w4-fp16";
  x.us = 4;
  x.flops = 33.5e6;
  x.bytes = 8.7e6;
  x.limit = LimitShare{0.47, "read bandwidth"};
  x.max_error = 3.2e-4;
  x.reference = "cuBLAS FP16";
  x.reference_us = 13;
  x.reference_unstable = true;
  KernelSpeed y = x;
  y.reference_us.reset();
  y.reference_unstable = false;
  y.launched = true;
  EXPECT_EQ(
      ToMarkdown(KernelSpeedTable(std::vector<KernelSpeed>{x, y})),
      "| m | format | kernel | us | GFLOP/s | GB/s | share of limit | cuBLAS FP16 us | times as fast | max error | "
      "remark |\n"
      "| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n"
      "| 1 | fp4-g128 | cuda/w4-fp16 | 4.00 | 8375 | 2175 | 47 % of read bandwidth | 13.0 | 3.25x | 3.2e-04 | "
      "cuBLAS FP16 unstable |\n"
      "| 1 | fp4-g128 | cuda/w4-fp16 | 4.00 | 8375 | 2175 | 47 % of read bandwidth | not measured | not measured | "
      "3.2e-04 | not replayed |\n");
}

}  // namespace
}  // namespace marlin
