#include "text/jinja_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/jinja_text.h"

namespace marlin::jinja {
namespace {

constexpr int kDeepestValue = 100;          // lists and dicts in each other
constexpr std::size_t kObject_bytes = 128;  // about what a value on the heap takes beside its content

}  // namespace

const Value* Frame::Find(std::string_view name) const {
  for (const Frame* frame = this; frame != nullptr; frame = frame->parent) {
    for (const auto& [variable, value] : frame->variables) {
      if (variable == name) return &value;
    }
  }
  return nullptr;
}

void Frame::Set(std::string_view name, Value value) {
  for (auto& [variable, old] : variables) {
    if (variable != name) continue;
    old = std::move(value);
    return;
  }
  variables.emplace_back(name, std::move(value));
}

std::string PlaceIn(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const std::size_t line = before.rfind('\n');
  const std::string_view in_line = line == std::string_view::npos ? before : before.substr(line + 1);
  return fmt::format("line {}, column {}", 1 + std::ranges::count(before, '\n'), 1 + CountCodePoints(in_line));
}

Value Run::Fail(ErrorCode code, std::string_view message) {
  if (!error_) error_ = Error{code, fmt::format("{}: {}: {}", where_, PlaceIn(source_, offset_), message)};
  return {};
}

bool Run::Step(std::size_t steps) {
  if (failed()) return false;
  steps_ += steps;
  if (steps_ <= limits_.most_steps) return true;
  Unsupported(fmt::format("the template takes more than {} steps, this program's limit", limits_.most_steps));
  return false;
}

bool Run::Reserve(std::size_t bytes) {
  if (failed()) return false;
  bytes_ += bytes + kObject_bytes;
  if (bytes <= limits_.most_bytes && bytes_ <= limits_.most_bytes) return Step(1 + bytes / 1024);
  Unsupported(
      fmt::format("the values of the template take more than {} bytes, this program's limit", limits_.most_bytes));
  return false;
}

bool Run::Enter() {
  ++depth_;  // the caller leaves in any case
  if (!Step()) return false;
  if (depth_ <= limits_.deepest) return true;
  Unsupported(
      fmt::format("more than {} expressions, macros or values in each other, this program's limit", limits_.deepest));
  return false;
}

Value Run::MakeText(std::string_view text, bool markup) {
  if (text.size() > limits_.most_text_bytes) {
    return Unsupported(fmt::format("a text of more than {} bytes, this program's limit", limits_.most_text_bytes));
  }
  if (!Reserve(text.size())) return {};
  return Value::Data(Text{std::make_shared<const std::string>(text), markup});
}

Value Run::MakeList(Items items, ListKind kind) {
  if (!Reserve(items.size() * sizeof(Value))) return {};
  auto list = std::make_shared<List>();
  list->kind = kind;
  for (const Value& item : items) list->depth = std::max(list->depth, DepthOf(item) + 1);
  if (list->depth > kDeepestValue) {
    return Unsupported(fmt::format("a list nested deeper than {}, this program's limit", kDeepestValue));
  }
  list->items = std::move(items);
  return Value::Data(std::shared_ptr<const List>(std::move(list)));
}

Value Run::MakeDict(std::vector<std::pair<Value, Value>> entries) {
  if (!Reserve(entries.size() * 2 * sizeof(Value))) return {};
  auto dict = std::make_shared<Dict>();
  for (const auto& [key, value] : entries) dict->depth = std::max({dict->depth, DepthOf(key) + 1, DepthOf(value) + 1});
  if (dict->depth > kDeepestValue) {
    return Unsupported(fmt::format("a dict nested deeper than {}, this program's limit", kDeepestValue));
  }
  dict->entries = std::move(entries);
  return Value::Data(std::shared_ptr<const Dict>(std::move(dict)));
}

Value Run::MakeIterator(Items items) {
  const Value list = MakeList(std::move(items));
  if (failed() || !Reserve(sizeof(Iterator))) return {};
  iterators_.push_back(std::make_unique<Iterator>());
  iterators_.back()->list = std::get<std::shared_ptr<const List>>(list.data);
  return Value::Data(iterators_.back().get());
}

Value Run::MakeMethod(const Value& self, std::string_view name) {
  if (!Reserve(sizeof(Method))) return {};
  auto method = std::make_shared<const Method>(Method{self, std::string(name)});
  if (DepthOf(self) >= kDeepestValue) return Unsupported("methods of methods");
  return Value::Data(std::move(method));
}

Value Run::MakeUndefined(std::string_view message) {
  if (!Reserve(message.size())) return {};
  return Value::Data(Undefined{std::make_shared<const std::string>(message)});
}

Namespace* Run::MakeNamespace() {
  Reserve(sizeof(Namespace));
  return namespaces_.emplace_back(std::make_unique<Namespace>()).get();
}

const Macro* Run::MakeMacro(const Statement& definition, Frame& closure) {
  Reserve(sizeof(Macro));
  for (Frame* frame = &closure; frame != nullptr; frame = frame->parent) frame->captured = true;
  return macros_.emplace_back(std::make_unique<Macro>(Macro{&definition, &closure})).get();
}

Loop* Run::MakeLoop() {
  Reserve(sizeof(Loop));
  return loops_.emplace_back(std::make_unique<Loop>()).get();
}

void Run::Write(std::string_view text) {
  if (!Step(1 + text.size() / 1024)) return;
  std::string& out = outputs_.back();
  if (text.size() > limits_.most_text_bytes - out.size()) {
    Unsupported(fmt::format("the template writes more than {} bytes, this program's limit", limits_.most_text_bytes));
    return;
  }
  bytes_ += text.size();  // blocks may hold texts at many levels
  out += text;
}

std::string Run::EndBlock() {
  std::string text = std::move(outputs_.back());
  outputs_.pop_back();
  return text;
}

Bound::Bound(Run& run, const Arguments& arguments, std::string_view what, std::span<const std::string_view> names,
             std::size_t required)
    : run_(run), what_(what), names_(names), values_(names.size()) {
  if (arguments.positional.size() > names.size()) {
    run_.Wrong(fmt::format("{} takes at most {} arguments, got {}", what, names.size(), arguments.positional.size()));
    return;
  }
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::ranges::find(names_, name);
    if (found == names_.end()) {
      run_.Wrong(fmt::format("{} has no argument \"{}\"", what, name));
      return;
    }
    auto& place = values_[static_cast<std::size_t>(found - names_.begin())];
    if (place) run_.Wrong(fmt::format("{} got its argument \"{}\" twice", what, name));
    place = value;
  }
  for (std::size_t i = 0; i < required; ++i) {
    if (!values_[i]) run_.Wrong(fmt::format("{} lacks its argument \"{}\"", what, names_[i]));
  }
}

std::int64_t Bound::Integer(std::size_t i, std::int64_t otherwise) {
  if (!has(i)) return otherwise;
  if (IsInteger(*values_[i])) return IntegerOf(*values_[i]);
  run_.Wrong(fmt::format("{}: {} is a {}, want an integer", what_, names_[i], TypeName(*values_[i])));
  return otherwise;
}

std::string_view Bound::TextOr(std::size_t i, std::string_view otherwise) {
  if (!has(i)) return otherwise;
  if (values_[i]->is(Kind::kText)) return values_[i]->text();
  run_.Wrong(fmt::format("{}: {} is a {}, want a text", what_, names_[i], TypeName(*values_[i])));
  return otherwise;
}

}  // namespace marlin::jinja
