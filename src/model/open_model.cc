#include "model/open_model.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "model/config_keys.h"
#include "model/model_tensors.h"

namespace marlin {

Result<OpenedModel> OpenModel(const std::filesystem::path& path, AcceptedNames accepted) {
  auto checkpoint = OpenCheckpoint(path, std::move(accepted));
  if (!checkpoint) return checkpoint.error();
  auto config = ParseModelConfig(checkpoint->config);
  if (!config) return Error{config.error().code, path.string() + ": " + config.error().message};
  const std::string where = checkpoint->container == Container::kGguf ? path.string() : (path / "config.json").string();
  if (auto status = CheckConfigKeys(checkpoint->config, where, checkpoint->accepted); !status) return status.error();
  if (auto status = CheckTensors(*checkpoint, *config); !status) return status.error();
  return OpenedModel{std::move(*checkpoint), std::move(*config)};
}

}  // namespace marlin
