// A parsed Jinja template: statements and expressions, as data.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace marlin::jinja {

enum class ExpressionKind {
  kConstant,   // constant
  kName,       // name
  kList,       // children
  kTuple,      // children
  kDict,       // children: key, value, key, value, ...
  kAttribute,  // children[0] . name
  kItem,       // children[0] [ children[1] ]
  kSlice,      // children[0] [ children[1] : children[2] : children[3] ]; those left out are null
  kCall,       // children[0] ( the rest, named )
  kFilter,     // children[0] | name ( the rest, named )
  kTest,       // children[0] is name ( the rest, named )
  kNot,        // not children[0]
  kMinus,      // - children[0]
  kPlus,       // + children[0]
  kBinary,     // children[0] name children[1]; name is + - * / // % **
  kConcat,     // children joined by ~
  kCompare,    // children with names[i] between children i and i + 1: == != < <= > >= in "not in"
  kAnd,
  kOr,
  kCondition  // children[0] if children[1] else children[2]; the last may be null
};

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  ExpressionKind kind = ExpressionKind::kConstant;
  std::size_t offset = 0;  // byte of the template
  int depth = 1;           // of expressions in each other
  std::string name;
  Value constant;
  std::vector<ExpressionPtr> children;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  std::vector<std::string> names;
};

// What a value is assigned to: names, or one attribute of a namespace.
struct Target {
  std::vector<std::string> names;
  bool unpacks = false;   // into several names, from a list
  std::string attribute;  // of the namespace names[0]; empty = none
};

enum class StatementKind {
  kText,      // text
  kPrint,     // expression
  kIf,        // branches, otherwise
  kFor,       // target in expression if condition: body, otherwise
  kSet,       // target = expression
  kSetBlock,  // target = body, through the filters of `expression`, where there are some
  kFilter,    // body through the filters of `expression`
  kMacro,     // name, parameters with defaults: body
  kScope,     // body, with variables of its own
  kBreak,
  kContinue
};

struct Statement;
using Statements = std::vector<Statement>;

struct Branch {
  ExpressionPtr condition;
  Statements body;
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  std::size_t offset = 0;
  std::string text;  // also a macro's name
  Target target;
  ExpressionPtr expression, condition;
  std::vector<Branch> branches;
  Statements body, otherwise;
  std::vector<std::pair<std::string, ExpressionPtr>> parameters;  // null = no default
};

}  // namespace marlin::jinja
