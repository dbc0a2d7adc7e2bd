// Parses the expressions of a Jinja template. After an error the results mean nothing; the reader has the error.
#pragma once

#include "text/jinja_ast.h"
#include "text/jinja_token_reader.h"

namespace marlin::jinja {

ExpressionPtr ParseExpression(TokenReader& in);
// One expression, or several with commas between them, which are a tuple. with_condition: `x if y else z` is one, too.
ExpressionPtr ParseTuple(TokenReader& in, bool with_condition);
// The filter that is named here, applied to `value`; null stands for the text of a block.
ExpressionPtr ParseFilter(TokenReader& in, ExpressionPtr value);

}  // namespace marlin::jinja
