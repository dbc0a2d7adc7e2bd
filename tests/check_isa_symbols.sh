#!/bin/sh
# check_isa_symbols.sh NM OBJECT...: fails when an object compiled for one instruction set defines anything that the
# linker could use elsewhere, except its kernel table. An inline function that escapes from such an object (a weak
# symbol) could replace the same function of the whole program and end it on older machines.
nm=$1
shift
[ $# -gt 0 ] || { echo "no objects to check"; exit 1; }
bad=0
for object; do
  defined=$("$nm" --extern-only --defined-only "$object") || exit 1
  tables=$(echo "$defined" | grep -cE ' [DR] .*k[A-Z][A-Za-z0-9]*Table')
  others=$(echo "$defined" | grep -vE ' [DR] .*k[A-Z][A-Za-z0-9]*Table' | grep -v '^$')
  if [ "$tables" -ne 1 ]; then
    echo "$object: exports $tables kernel tables, should be 1"
    bad=1
  fi
  if [ -n "$others" ]; then
    echo "$object: exports more than its table:"
    echo "$others"
    bad=1
  fi
done
exit $bad
