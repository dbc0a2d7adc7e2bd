#include "model/open_model.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "model/config_keys.h"
#include "model/families/family.h"
#include "model/model_tensors.h"

namespace marlin {

Result<OpenedModel> OpenModel(const std::filesystem::path& path, AcceptedNames accepted) {
  auto checkpoint = OpenCheckpoint(path, std::move(accepted));
  if (!checkpoint) return checkpoint.error();
  auto description = DescribeModel(checkpoint->config);
  if (!description) return Error{description.error().code, path.string() + ": " + description.error().message};
  const std::string where = checkpoint->container == Container::kGguf ? path.string() : (path / "config.json").string();
  if (auto status = CheckConfigKeys(checkpoint->config, where, checkpoint->accepted); !status) return status.error();
  if (auto status = CheckTensors(*checkpoint, *description); !status) return status.error();
  return OpenedModel{std::move(*checkpoint), std::move(*description)};
}

}  // namespace marlin
