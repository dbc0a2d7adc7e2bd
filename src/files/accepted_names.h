// Everything in a model file is used, known to be harmless, or an error that names it. The user can accept a key or a
// tensor that this program does not know (--accept-unknown NAME); it then has no effect, and every result says so.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace marlin {

class AcceptedNames {
 public:
  AcceptedNames() = default;
  explicit AcceptedNames(const std::vector<std::string>& names) : wanted_(names.begin(), names.end()) {}

  // For a judgement that leaves unknown names to a later one.
  static AcceptedNames Everything() {
    AcceptedNames names;
    names.everything_ = true;
    return names;
  }

  // Whether the user accepted the name. A name that was asked for is remembered as one that the model holds.
  bool Accept(std::string_view name) {
    if (!everything_ && !wanted_.contains(name)) return false;
    found_.emplace(name);
    return true;
  }

  // Takes over a name that was accepted when the folder was made: the tensor or key is missing from its numbers.
  void Inherit(const std::string& name) {
    wanted_.insert(name);
    found_.insert(name);
  }

  // What the model holds and was accepted, in alphabetical order.
  std::vector<std::string> found() const { return {found_.begin(), found_.end()}; }

 private:
  bool everything_ = false;
  std::set<std::string, std::less<>> wanted_;
  std::set<std::string, std::less<>> found_;
};

// The end of an error about something unknown: "; if ..., accept it with --accept-unknown NAME".
std::string WayOut(std::string_view name);

}  // namespace marlin
