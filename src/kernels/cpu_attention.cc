#include "kernels/cpu_attention.h"

#include "base/check.h"

namespace marlin {

void AppendToCache(CpuCache& cache, std::size_t layer, std::size_t position, MatrixView<const float> keys,
                   MatrixView<const float> values, CpuWorkers& workers) {
  const std::size_t kv_heads = cache.layer(layer).kv_heads;
  const std::size_t head_dim = cache.layer(layer).head_dim;
  const std::size_t end = position + keys.rows;
  MARLIN_CHECK(keys.rows == values.rows && keys.cols == kv_heads * head_dim && values.cols == keys.cols &&
                   end <= cache.shape().context,
               "shapes of keys and values");
  // A piece is one head of one block: threads share no cache line.
  const std::size_t first = position / kKeyBlock;
  const std::size_t pieces = ((end - 1) / kKeyBlock - first + 1) * kv_heads;
  const auto store = [&](std::size_t piece, int) {
    const std::size_t head = piece % kv_heads;
    const std::size_t begin = (first + piece / kv_heads) * kKeyBlock;
    for (std::size_t p = std::max(begin, position); p < std::min(begin + kKeyBlock, end); ++p) {
      const std::size_t column = head * head_dim;
      cache.Set(layer, head, p, keys.Row(p - position).data() + column, values.Row(p - position).data() + column);
    }
  };
  if (keys.rows * keys.cols > kSerialElements) return workers.ForPieces(pieces, store);
  for (std::size_t piece = 0; piece < pieces; ++piece) store(piece, 0);
}

void Attend(const HostAttention& attention, const OpsTable& ops, CpuWorkers& workers) {
  const AttentionArgs& args = attention.args;
  const CpuCache& cache = attention.cache;
  const MatrixView<const float> q = attention.q;
  const MatrixView<float> out = attention.out;
  const std::size_t kv_heads = cache.layer(args.layer).kv_heads;
  const std::size_t head_dim = cache.layer(args.layer).head_dim;
  MARLIN_CHECK(out.rows == q.rows && out.cols == q.cols && kv_heads > 0 && args.heads % kv_heads == 0 &&
                   q.cols == args.heads * head_dim && attention.position + q.rows <= cache.shape().context,
               "shapes of attention");
  MARLIN_CHECK(args.softcap >= 0, "the cap of scores");
  const std::size_t sharing = args.heads / kv_heads;  // query heads per kv head
  const std::size_t tile_heads = std::min(sharing, kAttentionHeads);
  const std::size_t tile_positions = std::max<std::size_t>(1, kAttentionRows / tile_heads);
  const std::size_t head_tiles = (sharing + tile_heads - 1) / tile_heads;
  const std::size_t position_tiles = (q.rows + tile_positions - 1) / tile_positions;
  const std::size_t per_position = kv_heads * head_tiles;

  const auto attend = cache.half() ? ops.attention_half : ops.attention;

  workers.ForPieces(position_tiles * per_position, [&](std::size_t piece, int thread) {
    // Late positions see the most keys: they go first, so that the last pieces are small.
    const std::size_t first = (position_tiles - 1 - piece / per_position) * tile_positions;
    const std::size_t kv_head = piece % per_position / head_tiles;
    const std::size_t shared = piece % head_tiles * tile_heads;
    const std::size_t column = (kv_head * sharing + shared) * head_dim;

    AttentionTile tile;
    tile.q = q.data + first * q.stride + column;
    tile.q_stride = q.stride;
    tile.positions = std::min(tile_positions, q.rows - first);
    tile.heads = std::min(tile_heads, sharing - shared);
    tile.head_dim = head_dim;
    tile.keys = cache.Keys(args.layer, kv_head);
    tile.values = cache.Values(args.layer, kv_head);
    tile.position = attention.position + first;
    tile.scale = args.scale;
    tile.window = args.window;
    tile.softcap = args.softcap;
    tile.out = out.data + first * out.stride + column;
    tile.out_stride = out.stride;
    tile.workspace = workers.Workspace(thread);
    attend(tile);
  });
}

}  // namespace marlin
