#include "records/json_text.h"

#include <algorithm>
#include <string_view>

namespace marlin {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kLineWidth = 120;

std::string Plain(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

bool IsPlainList(const Json& json) {
  return json.is_array() && std::none_of(json.begin(), json.end(), [](const Json& x) { return x.is_structured(); });
}

void Append(const Json& json, std::size_t indent, std::string& out);

void AppendPlainList(const Json& list, std::size_t indent, std::string& out) {
  if (list.empty()) {
    out += "[]";
    return;
  }
  const std::string margin(indent + 2, ' ');
  out += "[";
  std::size_t column = kLineWidth;  // the first value starts a line
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string value = Plain(list[i]) + (i + 1 < list.size() ? "," : "");
    if (column + 1 + value.size() > kLineWidth) {
      out += "\n" + margin + value;
      column = margin.size() + value.size();
    } else {
      out += " " + value;
      column += 1 + value.size();
    }
  }
  out += "\n" + std::string(indent, ' ') + "]";
}

void AppendStructure(const Json& json, std::size_t indent, std::string& out) {
  const bool object = json.is_object();
  const std::string margin(indent + 2, ' ');
  out += object ? "{" : "[";
  std::string_view separator = "\n";
  for (auto it = json.begin(); it != json.end(); ++it) {
    out += separator;
    out += margin;
    if (object) out += Plain(Json(it.key())) + ": ";
    Append(*it, indent + 2, out);
    separator = ",\n";
  }
  if (!json.empty()) out += "\n" + std::string(indent, ' ');
  out += object ? "}" : "]";
}

void Append(const Json& json, std::size_t indent, std::string& out) {
  if (IsPlainList(json)) {
    AppendPlainList(json, indent, out);
  } else if (json.is_structured()) {
    AppendStructure(json, indent, out);
  } else {
    out += Plain(json);
  }
}

}  // namespace

std::string FormatJson(const Json& json) {
  std::string out;
  Append(json, 0, out);
  return out + "\n";
}

}  // namespace marlin
