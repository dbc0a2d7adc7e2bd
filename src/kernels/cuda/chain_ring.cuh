// The products of a chain. One warp copies the items of all products of a block, in order, to a ring in shared memory.
// It runs ahead of the steps, as weights depend on nothing: while the others wait at a barrier, the ring fills.
//
// Item n of a block, counted over all steps, goes to place n mod kStages. Team n mod 4 multiplies it: four warps that
// share its rows.
#pragma once

#include "kernels/cuda/chain_input.cuh"
#include "kernels/cuda/few_kernel.cuh"

namespace marlin::cuda {

template <class Type>
struct ChainRing {
  using Shape = FewShape<Type, 1, 4>;
  static_assert(!Type::kFormat.biased, "sums of the tokens are not made");
  static constexpr int kPlace = 4 * Shape::kRecord;  // bytes
  static constexpr int kShared = (static_cast<int>(sizeof(ChainShared)) + 127) / 128 * 128;
  static constexpr int kMostBytes = 232448 - 128;  // of a block on sm_90, less what alignment takes
  static constexpr int kFit = (kMostBytes - kShared) / kPlace;
  static constexpr int kStages = kFit < kMostChainStages ? kFit : kMostChainStages;
  static constexpr int kBytes = kShared + kStages * kPlace + 128;
  static_assert(kPlace % 16 == 0 && kStages >= 4);
};

// A place of the ring and how often it was used before, modulo 2.
template <int kStages>
struct ChainPlace {
  int stage = 0;
  std::uint32_t phase = 0;
  __device__ void Advance(int by) {
    stage += by;
    if (stage < kStages) return;
    stage -= kStages;
    phase ^= 1;
  }
};

#if MARLIN_HAS_BULK_COPIES
// Where the records of an item of a product begin. panel: of all matrices.
__device__ inline const std::uint8_t* RecordsOf(const ChainProduct& product, int panel, int block, int bytes) {
  int i = 0;
  for (; i + 1 < product.count && panel >= product.matrices[i].panels; ++i) panel -= product.matrices[i].panels;
  return product.matrices[i].records +
         (static_cast<std::size_t>(panel) * product.division.blocks + block) * static_cast<std::size_t>(bytes);
}

// Copies that are under way while a block waits for others, or reads what they wrote: that would come behind the copies
// otherwise. At other times all free places of the ring are filled. Found by trying (H200).
inline constexpr int kQuietCopies = 3;

// One lane of the warp that copies.
template <class Type>
__device__ void CopyItems(const ChainShared& shared, const ChainStep* steps, int count, std::uint32_t ring) {
  using Ring = ChainRing<Type>;
  const std::uint32_t full = SharedAddress(shared.full), empty = SharedAddress(shared.empty);
  const std::uint64_t once = EvictFirst();
  ChainPlace<Ring::kStages> place, landed;  // the next copy goes to `place`; those before `landed` have come
  int under_way = 0;
#pragma unroll 1
  for (int s = 0; s < count; ++s) {
    if (steps[s].kind != ChainStep::Kind::kProduct) continue;
    const ChainProduct& product = steps[s].product;
    const ChainDivision division = product.division;
    const int worker = BlockOfChain();
    if (worker >= division.workers) continue;
    const int begin = division.Begin(worker), end = division.Begin(worker + 1);
    int panel = division.PanelOf(begin), block = begin - panel * division.blocks;
    const std::uint8_t* from = RecordsOf(product, panel, block, Ring::kPlace);
#pragma unroll 1
    for (int item = begin; item < end; ++item) {
      while (under_way >= (shared.quiet ? kQuietCopies : Ring::kStages)) {
        BarrierWait(full + landed.stage * 8, landed.phase);
        landed.Advance(1);
        --under_way;
      }
      ++under_way;
      BarrierWait(empty + place.stage * 8, place.phase ^ 1);  // a place that was not used yet counts as empty
      BarrierExpect(full + place.stage * 8, Ring::kPlace);
      CopyBulk(ring + place.stage * Ring::kPlace, from, Ring::kPlace, full + place.stage * 8, once);
      place.Advance(1);
      from += Ring::kPlace;
      if (++block < division.blocks) continue;
      block = 0;
      if (++panel < division.panels) from = RecordsOf(product, panel, 0, Ring::kPlace);
    }
  }
}

// A warp that multiplies, in a step: 16 rows of every item of its team.
template <class Type>
struct ChainMultiplier {
  using Ring = ChainRing<Type>;
  using Shape = typename Ring::Shape;
  using Place = ChainPlace<Ring::kStages>;
  static_assert(kChainWarps == kChainTeams * kRowWarps);

  int team, row_warp, lane;
  std::uint32_t full, empty, columns;
  FewPlaces places[kColWarps];  // of each half of the columns
  Iq4Tables tables = {};

  __device__ ChainMultiplier(const ChainShared& shared, std::uint32_t ring) {
    const int warp = static_cast<int>(ChainThread() / kWarp);
    lane = static_cast<int>(ChainThread() % kWarp);
    team = warp / kRowWarps;
    row_warp = warp % kRowWarps;
    full = SharedAddress(shared.full);
    empty = SharedAddress(shared.empty);
    // All rows of the operand B are the token, so its products stand in all columns.
    columns = Kept(SharedAddress(shared.columns) + lane / 8 * 16);
#pragma unroll
    for (int half = 0; half < kColWarps; ++half) {
      places[half] = PlacesOf<Shape>(ring + row_warp * Shape::kRecord, half, lane);
    }
  }

  // sums += the item at `place` x the token's columns.
  __device__ void Multiply(const ChainShared& shared, int block, Place& place, float (&sums)[4]) const {
    BarrierWait(full + place.stage * 8, place.phase);
    FewTile<Shape> records[kColWarps][1];
    std::uint32_t tokens[kColWarps][kParts][1][2][4];
    const std::uint32_t from = columns + block * (kChainCols * 2);
#pragma unroll
    for (int half = 0; half < kColWarps; ++half) {
      records[half][0].Load(places[half], place.stage * Ring::kPlace);
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        LoadMatrices(tokens[half][part][0][0], from + (half * kParts + part) * 128);
        LoadMatrices(tokens[half][part][0][1], from + (half * kParts + part) * 128 + 64);
      }
    }
    const float power = shared.powers[block];
    WarpArrive(empty + place.stage * 8, static_cast<std::uint32_t>(lane));
    place.Advance(kChainTeams);
    float own[kColWarps][1][1][4] = {};
#pragma unroll
    for (int half = 0; half < kColWarps; ++half) {
      MultiplyRecords<Shape, 1>(records[half], tokens[half], tables, own[half]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[i] = __fmaf_rn(power, own[0][0][0][i] + own[1][0][0][i], sums[i]);
  }

  // Puts the sums of a panel together, of all teams, and into the block's slot.
  __device__ void PutPanel(ChainShared& shared, const ChainProduct& product, int panel, int& turn,
                           const float (&sums)[4]) const {
    float(&reduced)[kChainTeams][kPanel] = shared.reduced[turn];
    turn ^= 1;  // so one barrier is enough: who is one panel ahead writes elsewhere
    const int first = row_warp * 16;
    if (lane % 4 == 0) {
      reduced[team][first + lane / 4] = sums[0];
      reduced[team][first + lane / 4 + 8] = sums[2];
    }
    WaitForThreads(2 + row_warp, kWarp * kChainTeams);
    if (team != 0 || lane >= 16) return;
    float sum = 0;
#pragma unroll
    for (const auto& part : reduced) sum += part[first + lane];
    const int slot = BlockOfChain() - product.division.FirstOwner(panel);
    product.slots[slot * product.division.rows() + panel * static_cast<int>(kPanel) + first + lane] = sum;
  }

  // The block's items of a product.
  __device__ void Run(ChainShared& shared, const ChainProduct& product) const {
    const int blocks = product.division.blocks, items = product.division.ItemsOf(BlockOfChain());
    if (items == 0) return;
    int item = product.division.Begin(BlockOfChain()), skip = (team - shared.items) & (kChainTeams - 1), turn = 0;
    const int end = item + items, number = shared.items + skip;
    Place place = {number % Ring::kStages, static_cast<std::uint32_t>(number / Ring::kStages % 2)};
#pragma unroll 1
    for (int panel = product.division.PanelOf(item); item < end; ++panel) {
      const int first = panel * blocks, panel_end = first + blocks < end ? first + blocks : end;
      float sums[4] = {};
      int own = item + skip;  // the team's next item, perhaps of a later panel or step
#pragma unroll 1
      for (; own < panel_end; own += kChainTeams) Multiply(shared, own - first, place, sums);
      skip = own - panel_end;
      item = panel_end;
      PutPanel(shared, product, panel, turn, sums);
    }
  }
};
#endif

}  // namespace marlin::cuda
