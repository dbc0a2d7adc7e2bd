// One rendering of a Jinja template: its limits, its first error, and what its values refer to. Functions of the
// interpreter that cannot go on call Fail and return; after that every step does nothing until the rendering ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/jinja.h"
#include "text/jinja_value.h"

namespace marlin::jinja {

struct Statement;

// Variables of a template, a loop's turn, a macro's call.
struct Frame {
  Frame* parent = nullptr;
  std::vector<std::pair<std::string, Value>> variables;
  bool captured = false;  // by a macro defined in it, which may be called later

  const Value* Find(std::string_view name) const;  // here, then in the parents
  void Set(std::string_view name, Value value);
};

struct Macro {
  const Statement* definition = nullptr;
  Frame* closure = nullptr;
};

// A loop takes its items one by one, because the condition of `for x in y if z` may see what the body did. Asking for
// the last or the next item looks ahead by one, asking for the length by all.
struct Loop {
  std::size_t index0 = 0;
  Value previous;
  std::deque<Value> ahead;            // fetched, but not yet the loop's turn
  std::function<bool(Value&)> fetch;  // the next item; false = there is none. Empty when the loop is over

  bool HasNext() { return !ahead.empty() || Fetch(); }
  std::size_t Length() {
    while (Fetch()) continue;
    return index0 + 1 + ahead.size();
  }

 private:
  bool Fetch() {
    Value item;
    if (!fetch || !fetch(item)) return false;
    ahead.push_back(std::move(item));
    return true;
  }
};

class Run {
 public:
  Run(std::string_view source, std::string_view where, const std::tm& now, const JinjaLimits& limits)
      : source_(source), where_(where), now_(now), limits_(limits) {}

  bool failed() const { return error_.has_value(); }
  const Error& error() const { return *error_; }
  const std::tm& now() const { return now_; }

  // Where the template is now: a byte of its source. Messages name its line and column.
  void At(std::size_t offset) { offset_ = offset; }
  // Keeps the first error. Returns undefined.
  Value Fail(ErrorCode code, std::string_view message);
  // What Python would refuse, too.
  Value Wrong(std::string_view message) { return Fail(ErrorCode::kInput, message); }
  Value Unsupported(std::string_view message) { return Fail(ErrorCode::kUnsupported, message); }

  // Counts work. False when the template has failed or used up its steps.
  bool Step(std::size_t steps = 1);
  // Counts the work of reading so many bytes, `times` times.
  bool StepBytes(std::size_t bytes, std::size_t times = 1) { return Step(1 + bytes / 1024 * (times + 15) / 16); }
  // Counts the search for a piece of text, at worst the product of the lengths.
  bool StepSearch(std::string_view text, std::string_view piece) {
    return StepBytes(text.size() + text.size() / 64 * piece.size());
  }
  // Counts bytes of values before they are made.
  bool Reserve(std::size_t bytes);
  // Of expressions, macros and values in each other.
  bool Enter();
  void Leave() { --depth_; }

  Value MakeText(std::string_view text, bool markup = false);
  Value MakeList(Items items, ListKind kind = ListKind::kList);
  Value MakeDict(std::vector<std::pair<Value, Value>> entries);
  Value MakeIterator(Items items);
  Value MakeMethod(const Value& self, std::string_view name);
  Value MakeUndefined(std::string_view message);
  Namespace* MakeNamespace();
  const Macro* MakeMacro(const Statement& definition, Frame& closure);
  Loop* MakeLoop();
  // Keeps a frame that a macro captured.
  void Keep(std::unique_ptr<Frame> frame) { frames_.push_back(std::move(frame)); }

  // Appends to the text that is being rendered.
  void Write(std::string_view text);
  // The text of a block by itself.
  void BeginBlock() { outputs_.emplace_back(); }
  std::string EndBlock();

 private:
  std::string_view source_, where_;
  std::tm now_;
  JinjaLimits limits_;
  std::optional<Error> error_;
  std::size_t offset_ = 0;
  std::size_t steps_ = 0, bytes_ = 0;
  int depth_ = 0;
  std::vector<std::string> outputs_ = {""};
  std::vector<std::unique_ptr<Namespace>> namespaces_;
  std::vector<std::unique_ptr<Iterator>> iterators_;
  std::vector<std::unique_ptr<Macro>> macros_;
  std::vector<std::unique_ptr<Loop>> loops_;
  std::vector<std::unique_ptr<Frame>> frames_;
};

// "line 3, column 7": `offset` is a byte of the text.
std::string PlaceIn(std::string_view text, std::size_t offset);

// The arguments of a call in the order of `names`; those that were not given are empty. The first `required` must be
// given. Fails the run for too many, unknown and doubled ones: `what` is named in the message.
class Bound {
 public:
  Bound(Run& run, const Arguments& arguments, std::string_view what, std::span<const std::string_view> names,
        std::size_t required);
  bool has(std::size_t i) const { return values_[i].has_value(); }
  const Value& operator[](std::size_t i) const { return *values_[i]; }
  // Fails the run when the value has another type.
  std::int64_t Integer(std::size_t i, std::int64_t otherwise);
  std::string_view TextOr(std::size_t i, std::string_view otherwise);
  bool Flag(std::size_t i, bool otherwise) const { return has(i) ? IsTrue(*values_[i]) : otherwise; }

 private:
  Run& run_;
  std::string what_;
  std::span<const std::string_view> names_;
  std::vector<std::optional<Value>> values_;
};

}  // namespace marlin::jinja
