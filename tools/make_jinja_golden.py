#!/usr/bin/env python3
"""Writes src/text/testdata/jinja_golden.json: small templates and what jinja2 renders, with the settings of transformers.

Usage: make_jinja_golden.py [--seed N] [--random N] [-o FILE]
Needs `pip install transformers jinja2`. The templates cover each construct of docs/chat_templates.md. With --random, N
templates of random expressions are added: point METAL_MARLIN_JINJA_GOLDEN at such a file and run the test of src/text.

File: {"variables": what all templates see,
       "cases": [{"group", "template", "result": the text, or null where jinja2 refuses the template}]}
strftime_now shows Friday 2024-06-07 08:09:10.
"""
import argparse
import copy
import datetime
import json
import os
import random
import warnings

from transformers.utils import chat_template_utils

VARIABLES = {
    "text": "  Hello, wörld!\n", "word": "abc", "empty": "", "lines": "a\n\n b\r\nc\n", "mixed": "aB cD-eF (gh <ij {kl [mn",
    "zero": 0, "one": 1, "seven": 7, "minus": -7, "half": 0.5, "big": 1e20, "third": 0.1, "yes": True, "no": False,
    "nothing": None, "list": [3, 1, 2], "names": ["b", "A", "c", "a"], "none_list": [], "nested": [[1, 2], ["x", None]],
    "dict": {"b": 1, "a": "x", "C": [True, None, 1.5]}, "none_dict": {}, "quotes": "it's \"x\" \\ \t \u2028 é \U0001F41F \x7f",
    "people": [{"name": "Ada", "age": 36, "tags": ["m"], "of": {"city": "London"}},
               {"name": "bob", "age": 4, "tags": [], "of": {"city": "Brest"}},
               {"name": "Cy", "age": 36, "of": {}}],
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
                 {"role": "assistant", "content": "Ho"}, {"role": "user", "content": "x < y & 'z'"}],
}  # fmt: skip

CASES = {
    "text and tags": [
        "", "plain", "a{{ word }}b", "{{word}}", "{{ 'x' }}{{ \"y\" }}", "{# note #}x", "a {# {{ x }} {% y %} #} b",
        "{{ '{{' }} {{ '%}' }}", "{ {{ word }} } % # }}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a': {}} }}",
        "line\n", "line\n\n", "\n", "a\r\nb\rc", "é{{ word }}東",
    ],
    "whitespace": [
        "a\n  {% if yes %}\n  b\n  {% endif %}\nc", "a\n  {%- if yes -%}\n  b\n  {%- endif -%}\nc",
        "a\n  {%+ if yes +%}\n  b\n  {%+ endif +%}\nc", " x {{- word -}} y ", " x {{ word }}\n y", "  {% if yes %}x{% endif %}",
        "a  {% if yes %}x{% endif %}  b", "  {# c #}\nx", "a {#- c -#} b", "a\n {#+ c +#}\n b", "{{ word -}}\n\n\t x",
        "{% if yes %}\n\nx{% endif %}\n", "\n  {% if yes %}  \n x{% endif %}", "{%- set a = 1 -%}\n  {{ a }}",
        "a\n\t {% set a = 1 %} \n{{ a }}", "{% for i in list %}\n  {{ i }}\n{% endfor %}\n", "a\u00a0\u2003{%- if yes %}b{% endif %}",
        "{% if yes %}\n  {% if yes %}\n    x\n  {% endif %}\n{% endif %}\n", "{{ word }}  {% if yes %}y{% endif %}", "  {{ word }}",
    ],
    "raw": [
        "{% raw %}{{ x }}{% endraw %}", "a {%- raw -%} {{ x }} {%- endraw -%} b", "{% raw %}\n  {% if %}\n  {% endraw %}\nb",
        "{%raw%}a{%endraw%}", "{% raw %}x{% endraw +%}\ny", "{% raw %}{% end %}{% raw %}{% endraw %}",
    ],
    "literals": [
        "{{ 1 }} {{ 1_000 }} {{ 1.5 }} {{ 1e3 }} {{ 1.5e-7 }} {{ 12e20 }} {{ 0.1 }} {{ 100000000000000000.0 }} {{ 1e16 }} {{ 1e15 }}",
        "{{ true }} {{ False }} {{ none }} {{ None }} {{ True }}", "{{ [1, 'a', [2], (3,), (), (4, 5)] }}", "{{ (1) }} {{ 1, 2 }}",
        "{{ {'a': 1, 2: 'b', none: true, 1.5: [], (1, 2): 3} }}", "{{ {'a': 1, 'a': 2} }}", "{{ [1, 2,] }}{{ {'a': 1,} }}",
        "{{ 'a\\n\\t\\\\\\'\\x41\\u00e9\\101\\q\\U0001F41F\\\n' }}", "{{ 'a' 'b' \"c\" }}", "{{ [quotes, nothing, yes] }}",
        "{{ ['it\\'s', 'a\"b', 'both \\' \"', '\\x00\\x1f\\x7f\\u200b\\ud7ff\\U0010ffff\\xa0'] }}", "{{ [1e16, 1e-5, 0.0001, -0.0, 2.5] }}",
        "{{ 0 }}{{ 00 }}{{ 0.0 }}", "{{ -1 }}{{ +1 }}{{ - 1.5 }}{{ --1 }}", "{{ [undefined_name] }}{{ {'a': undefined_name} }}",
    ],
    "arithmetic": [
        "{{ 1 + 2 * 3 - 4 }} {{ 7 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }}",
        "{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 2 ** -1 }} {{ (1 + 2) * 3 }}", "{{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 1.5 + 1 }}",
        "{{ true + true }} {{ true * 3 }} {{ -true }} {{ +true }}", "{{ 'a' + 'b' }} {{ 'ab' * 2 }} {{ 3 * 'x' }} {{ 'x' * -1 }}",
        "{{ [1] + [2] }} {{ [1] * 2 }} {{ (1,) + (2,) }}", "{{ 1 ~ 2 ~ 'a' ~ none ~ true ~ [1] ~ undefined_name }}", "{{ 1 / 0 }}",
        "{{ 1 % 0 }}", "{{ 1 + 'a' }}", "{{ 'a' - 'b' }}", "{{ [1] + (2,) }}", "{{ nothing + 1 }}", "{{ undefined_name + 'x' }}",
        "{{ 'x' + undefined_name }}", "{{ 1.0 / 3 }} {{ 10 / 5 }} {{ 0.1 + 0.2 }} {{ 1e300 * 10 }} {{ 3 - 5 }}", "{{ -'a' }}",
        "{{ 1 - 1.0 }} {{ 5 // 0.3 }} {{ 0 ** 0 }} {{ (-8) ** 3 }} {{ 2 ** 0.5 }}", "{{ 1 +2 ~ 3 * 4 }}", "{{ 6 / 2 * 3 }} {{ 9 - 3 - 2 }}",
    ],
    "comparison and logic": [
        "{{ 1 < 2 }} {{ 1 > 2 }} {{ 2 <= 2 }} {{ 2 >= 3 }} {{ 1 == 1.0 }} {{ 1 != 1 }} {{ true == 1 }} {{ 'a' == 'a' }}",
        "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 > 1 == 1 }} {{ 1 == 1 != 2 }}", "{{ 'a' < 'b' }} {{ 'B' < 'a' }} {{ 'é' > 'z' }}",
        "{{ [1, 2] < [1, 3] }} {{ [1] == [1.0] }} {{ (1,) == [1] }} {{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }}", "{{ 1 < 'a' }}",
        "{{ none == false }} {{ none == none }} {{ '' == false }} {{ 0 == false }} {{ undefined_name == other_name }}", "{{ none < 1 }}",
        "{{ 1 in [1, 2] }} {{ 'b' in 'abc' }} {{ 'b' not in 'abc' }} {{ 'b' in dict }} {{ 'x' in dict }} {{ 1 not in (2, 3) }}",
        "{{ none in [none] }} {{ '' in 'a' }} {{ [1] in [[1]] }} {{ 1.0 in {1: 2} }}", "{{ 1 in 'a' }}", "{{ 'a' in 5 }}", "{{ 'a' in none }}",
        "{{ 'a' in undefined_name }} {{ undefined_name in [1] }}", "{{ [1] in dict }}", "{{ undefined_name < 1 }}",
        "{{ 0 or 'x' }} {{ 1 and 'y' }} {{ '' or none or [] }} {{ 1 and 0 and 2 }} {{ not 1 }} {{ not not '' }} {{ not 1 == 2 }}",
        "{{ 'a' if yes else 'b' }} {{ 'a' if no else 'b' }} {{ 'a' if no }} {{ 1 if no else 2 if no else 3 }}",
        "{{ ('a' if no) is defined }} {{ (1 if yes) + 1 }}", "{{ yes and not no or undefined_name.x }}", "{{ no and undefined_name.x }}",
        "{{ 1 is number and 'a' is string }} {{ not 1 is string }} {{ 1 + 1 == 2 and 3 > 2 }}",
    ],
    "items": [
        "{{ list[0] }} {{ list[-1] }} {{ list[9] }} {{ list.0 }} {{ nested[1][0] }} {{ list['x'] }} {{ word[1] }} {{ word[-1] }} {{ text[9] }}",
        "{{ dict.b }} {{ dict['a'] }} {{ dict.C[2] }} {{ dict.zzz }} {{ dict['zzz'] }} {{ dict[1] }}", "{{ word[1:] }} {{ word[:-1] }} {{ word[::-1] }}",
        "{{ list[1:] }} {{ list[:1] }} {{ list[::2] }} {{ list[::-1] }} {{ list[-2:] }} {{ list[5:] }} {{ list[2:0:-1] }} {{ (1, 2, 3)[1:] }}",
        "{{ text[2:9] }} {{ text[-4:-1] }} {{ text[::3] }} {{ word[none:2] }} {{ word[::none] }} {{ list[true] }} {{ word[::-9] }} {{ list[9:-9:-1] }}",
        "{{ word[::0] }}", "{{ list['a':] }}|{{ dict[1:] }}|{{ nothing[1:] }}|{{ 5[0] }}", "{{ undefined_name[0] }}", "{{ undefined_name.x }}",
        "{{ dict.zzz.y }}", "{{ nothing.x }}|{{ nothing['x'] }}|{{ 5 .x }}|{{ word.x }}|{{ list.x }}|{{ word['x'] }}", "{{ undefined_name[1:] }}",
        "{{ dict['items']()|list }} {{ {'items': 1}['items'] }} {{ {'items': 1}.get('items') }}", "{{ people[0].of.city }} {{ people[2].of.city }}",
        "{{ list[[1]] }}|{{ dict[[1]] }}|{{ word[1.0] }}", "{{ {1: 'a', true: 'b', 'k': 'c'}[1] }} {{ {1: 'x'}[1.0] }}", "{{ {[1]: 2} }}",
    ],
    "if": [
        "{% if yes %}a{% endif %}", "{% if no %}a{% elif zero %}b{% elif one %}c{% else %}d{% endif %}", "{% if no %}a{% else %}b{% endif %}",
        "{% if undefined_name %}a{% endif %}b", "{% if [] or {} or '' or 0 or 0.0 or none %}a{% else %}b{% endif %}", "{% if 1, 2 %}a{% endif %}",
        "{% if [0] %}a{% endif %}{% if ' ' %}b{% endif %}{% if (0,) %}c{% endif %}", "{% if yes: %}a{% endif %}", "{% if yes %}a", "{% endif %}",
        "{% if %}a{% endif %}", "{% if yes %}a{% endfor %}", "{% if yes %}{% set x = 1 %}{% endif %}{{ x }}", "{% if yes %}a{% else %}b{% elif no %}c{% endif %}",
    ],
    "for": [
        "{% for i in list %}{{ i }},{% endfor %}", "{% for i in none_list %}a{% else %}b{% endfor %}", "{% for c in 'héy' %}{{ c }}.{% endfor %}",
        "{% for k in dict %}{{ k }}{% endfor %} {% for k, v in dict.items() %}{{ k }}={{ v }};{% endfor %}", "{% for x in undefined_name %}a{% else %}b{% endfor %}",
        "{% for i in list %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.length }}{{ loop.first }}{{ loop.last }} {% endfor %}",
        "{% for i in list %}[{{ loop.previtem }}|{{ i }}|{{ loop.nextitem }}]{% endfor %}", "{% for i in list %}{{ loop.previtem is defined }}{% endfor %}",
        "{% for i in list if i > 1 %}{{ i }}{{ loop.index }}{{ loop.last }}{{ loop.length }} {% endfor %}", "{% for i in list if i > 9 %}a{% else %}b{% endfor %}",
        "{% for i in range(3) %}{% for j in range(2) %}{{ i }}{{ j }}{{ loop.index }} {% endfor %}{{ loop.index }};{% endfor %}",
        "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}", "{% break %}",
        "{% for a, b in nested %}{{ a }}-{{ b }} {% endfor %}", "{% for (a, b) in nested %}{{ a }}{% endfor %}", "{% for a, b in [[1]] %}{{ a }}{% endfor %}",
        "{% for i in 5 %}a{% endfor %}", "{% for i in none %}a{% endfor %}", "{% set x = 1 %}{% for i in list %}{{ x }}{% set x = i %}{{ x }}{% endfor %}{{ x }}",
        "{% for i in list %}{{ i }}{% endfor %}{{ i }}", "{% for i in [1, 2] %}{% set y = i %}{% endfor %}{{ y is defined }}", "{{ loop is defined }}",
        "{% for x in 1, 2, 3 %}{{ x }}{% endfor %}", "{% for x in list|sort %}{{ x }}{% endfor %}", "{% for i in list %}{% break %}{% else %}b{% endfor %}",
        "{% set ns = namespace(n=0) %}{% for i in range(6) if ns.n < 3 %}{% set ns.n = ns.n + 1 %}{{ i }}{% endfor %}",
        "{% set ns = namespace(n=0) %}{% for i in range(6) if ns.n < 3 %}{% set ns.n = ns.n + 1 %}{{ i }}{{ loop.last }}{% endfor %}",
        "{% for i in list %}{{ loop.x }}{% endfor %}", "{% for i in list %}{% for j in list %}{{ loop.index0 }}{% if j == 1 %}{% break %}{% endif %}{% endfor %}|{% endfor %}",
        "{% for i in list: %}{{ i }}{% endfor %}", "{% for loop in list %}{{ loop.index }}{% endfor %}", "{% for i in dict.keys() %}{{ i }}{% endfor %}{% for i in dict.values() %}{{ i }}{% endfor %}",
    ],
    "set": [
        "{% set x = 5 %}{{ x }}", "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set x = 1, 2 %}{{ x }}", "{% set x %}a{{ word }}b{% endset %}{{ x }}|{{ x|length }}",
        "{% set x | upper | trim %} a {% endset %}{{ x }}", "{% set ns = namespace(a=1, b='x') %}{% set ns.a = 2 %}{% set ns.c = 3 %}{{ ns.a }}{{ ns.b }}{{ ns.c }}{{ ns.d }}",
        "{% set ns = namespace() %}{% for i in list %}{% set ns.last = i %}{% endfor %}{{ ns.last }} {{ ns['last'] }}", "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}",
        "{% set x = {} %}{% set x.a = 1 %}", "{% set y.a = 1 %}", "{% set ns = namespace(_a=1) %}", "{% set ns = namespace() %}{% set ns._a = 1 %}", "{% set true = 1 %}",
        "{% set x = 1 %}{% set x = x + 1 %}{{ x }}", "{% set x %}{% set y = 1 %}{{ y }}{% endset %}{{ x }}{{ y is defined }}", "{% set messages = messages[1:] %}{{ messages|length }}",
        "{% set ns = namespace(x=[]) %}{% for i in list %}{% set ns.x = ns.x + [i * 2] %}{% endfor %}{{ ns.x }}", "{% set x, y = [1] %}", "{% set (a, b) = [1, 2] %}{{ b }}",
        "{% set ns = namespace(a=1) %}{{ ns is mapping }}{{ ns is iterable }}{{ ns is defined }}", "{% set x = 'a' if no %}{{ x is defined }}", "{% set x = %}",
    ],
    "macro": [
        "{% macro m(a, b='x', c=none) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(1, c=3) }}{{ m(b=2, a=1) }}{{ m() }}",
        "{% macro m() %}\n  a\n{% endmacro %}{{ m()|trim }}{{ m() is string }}", "{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(3) }}",
        "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}",
        "{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% set x = 2 %}{{ m() }}", "{% macro m() %}{% set x = 5 %}{{ x }}{% endmacro %}{{ m() }}{{ x is defined }}",
        "{% macro a() %}A{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "{{ m() }}",
        "{% macro m(a=1, b) %}{% endmacro %}", "{% for i in list %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}",
        "{% macro m() %}{% for i in list %}{{ loop.index }}{% endfor %}{% endmacro %}{% for i in list %}{{ m() }}{% endfor %}", "{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('<') ~ '&' }}",
        "{% macro m(messages) %}{{ messages }}{% endmacro %}{{ m(1) }}{{ messages|length }}",
    ],
    "filters of texts": [
        "[{{ text|trim }}] [{{ 'xxaxx'|trim('x') }}] [{{ 5|trim }}] [{{ undefined_name|trim }}]", "{{ text|length }} {{ list|length }} {{ dict|count }} {{ undefined_name|length }}", "{{ 5|length }}",
        "{{ word|upper }} {{ 'ÄÖ Ł'|lower }} {{ 'éa'|upper }} {{ 5|upper }} {{ nothing|lower }}", "{{ mixed|title }} {{ 'hello world'|title }} {{ \"it's é\"|title }}",
        "{{ 'hELLO wORLD'|capitalize }} {{ ''|capitalize }} {{ 'éA'|capitalize }}", "{{ 'aaa'|replace('a', 'b') }} {{ 'aaa'|replace('a', 'b', 2) }} {{ 121|replace(1, 'x') }} {{ 'ab'|replace('', '-') }}",
        "{{ quotes|string }} {{ 5|string + 'x' }} {{ [1]|string }} {{ none|string }}", "{{ lines|indent }}|{{ lines|indent(2, true) }}|{{ lines|indent(1, blank=true) }}|{{ 'a\nb'|indent('> ') }}|{{ ''|indent }}",
        "{{ '<b>'|safe }} {{ '<b>'|safe + '<i>' }} {{ '<i>' + '<b>'|safe }} {{ ('<b>'|safe) ~ '<i>' }} {{ '&'|safe|upper + '\"' }} {{ ('<'|safe * 2) + '>' }}",
        "{{ ('a<b'|safe).split('<') }}", "{{ ('<'|safe)[0] + '<' }} {{ ('x'|safe).replace('x', '<') }} {{ '<'|safe|trim + '<' }} {{ '<'|safe|string + '<' }} {{ '<'|safe|replace('<', '<') + '<' }}",
        "{{ '3'|int + 1 }} {{ '3.9'|int }} {{ 3.9|int }} {{ -3.9|int }} {{ 'x'|int }} {{ 'x'|int(5) }} {{ ' 12 '|int }} {{ '1_0'|int }} {{ none|int }} {{ true|int }} {{ '+4'|int }} {{ [1]|int(2) }} {{ ''|int }}",
        "{{ '3'|float }} {{ '3.5e1'|float }} {{ 'x'|float }} {{ 'x'|float(1.5) }} {{ 7|float }} {{ ' -2. '|float }} {{ '.5'|float }} {{ none|float }}", "{{ undefined_name|int }}", "{{ 'inf'|float }} {{ 'nan'|float }}",
        "{{ -5|abs }} {{ -5.5|abs }} {{ true|abs }}", "{{ 'a'|abs }}", "{{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 2.1|round(method='ceil') }} {{ 2.19|round(1, 'floor') }} {{ 7|round }} {{ 1.005|round(2) }} {{ -0.5|round }}",
        "{{ undefined_name|default }}|{{ undefined_name|default('x') }}|{{ ''|default('x') }}|{{ ''|default('x', true) }}|{{ none|d('x', boolean=true) }}|{{ none|default('x') }}|{{ dict.zz|default(5) }}",
        "{{ 'a'|unknown_filter }}", "{{ 'a'|trim(1, 2, 3) }}", "{% filter upper %}a{{ word }}{% endfilter %}", "{% filter trim|upper %} a {% endfilter %}|", "{{ 'ab'|reverse }} {{ list|reverse|list }}",
        "{{ text|trim|upper|lower|length + 1 }}", "{{ 1|default(2)|string ~ 'x' }}", "{{ -1|abs }} {{ 'a'|upper is string }} {{ 'x' ~ 'y'|upper }}", "{{ 5.0|string }}",
    ],
    "filters of lists": [
        "{{ list|join }} {{ list|join(', ') }} {{ people|join(',', attribute='name') }} {{ dict|join('-') }} {{ 'abc'|join('.') }} {{ [1, none, 'a', undefined_name]|join('|') }} {{ undefined_name|join }}",
        "{{ list|first }} {{ list|last }} {{ word|first }} {{ dict|last }} [{{ none_list|first }}] [{{ none_list|last }}] {{ undefined_name|first }}", "{{ 5|first }}", "{{ dict|items|list }} {{ undefined_name|items|list }}", "{{ list|items|list }}",
        "{% for k, v in dict|items %}{{ k }}{{ v }}{% endfor %}", "{{ dict|dictsort }} {{ {'b': 2, 'a': 3}|dictsort(by='value') }} {{ dict|dictsort(true) }} {{ {'b': 2, 'a': 3}|dictsort(reverse=true) }}", "{{ list|dictsort }}",
        "{{ word|list }} {{ dict|list }} {{ (1, 2)|list }} {{ range(3)|list }} {{ undefined_name|list }}", "{{ none|list }}", "{{ people|map(attribute='name')|list }} {{ people|map(attribute='of.city')|join(',') }} {{ nested|map(attribute=0)|list }}",
        "{{ people|map(attribute='tags', default='none')|list }} {{ names|map('upper')|list }} {{ ['1', '2']|map('int')|sum }} {{ [' a ']|map('trim')|list }} {{ ['a']|map('replace', 'a', 'b')|list }} {{ none|map('upper')|list }}",
        "{{ people|selectattr('age', 'equalto', 36)|map(attribute='name')|list }} {{ people|rejectattr('age', 'gt', 30)|list }} {{ people|selectattr('tags')|list|length }} {{ people|selectattr('tags', 'defined')|list|length }} {{ people|selectattr('of.city', '==', 'Brest')|list|length }}",
        "{{ list|select('odd')|list }} {{ list|reject('odd')|list }} {{ [0, 1, '', 'a']|select|list }} {{ [0, 1]|reject|list }} {{ list|select('gt', 1)|list }} {{ ['a', 1]|select('string')|list }} {{ list|select('in', [1, 2])|list }}",
        "{{ list|map('upper')|length }}", "{{ (list|map('string'))[0] }}", "{% set g = list|map('string') %}{{ g|list }}{{ g|list }}", "{% set g = list|select %}{{ g|first }}{{ g|list }}", "{{ list|map('unknown_filter')|list }}",
        "{{ ['b', 'B', 'a', 'A']|unique|list }} {{ ['b', 'B']|unique(true)|list }} {{ people|unique(attribute='age')|map(attribute='name')|list }} {{ [1, 1.0, true, '1']|unique|list }}",
        "{{ list|sort }} {{ names|sort }} {{ names|sort(case_sensitive=true) }} {{ list|sort(reverse=true) }} {{ people|sort(attribute='name')|map(attribute='name')|list }} {{ people|sort(attribute='age', reverse=true)|map(attribute='name')|list }}",
        "{{ [1, 'a']|sort }}", "{{ list|min }} {{ list|max }} {{ names|min }} {{ names|max }} [{{ none_list|max }}] {{ people|max(attribute='age') }} {{ names|min(case_sensitive=true) }}",
        "{{ list|sum }} {{ [1, 2.5]|sum }} {{ people|sum(attribute='age') }} {{ list|sum(start=10) }} {{ [[1], [2]]|sum(start=[]) }} {{ []|sum }}", "{{ ['a']|sum }}", "{{ list|reverse|first }} {% for i in list|reverse %}{{ i }}{% endfor %}",
        "{{ messages|selectattr('role', 'equalto', 'user')|list|last }}", "{{ messages|map(attribute='role')|unique|join(',') }}", "{{ people|selectattr('zz', 'undefined')|list|length }}", "{{ people|map(attribute='zz.y')|list }}",
        "{{ list|first + 1 }} {{ [list|last, 1]|max }}", "{{ (dict.items()|list)[0] }} {{ dict.keys() }} {{ dict.values() }} {{ dict.items() }} {{ dict.items()|length }} {{ dict.keys()|first }}", "{{ dict.items()[0] }}|", "{{ dict.keys()|last }}",
    ],
    "tojson": [
        "{{ dict|tojson }}", "{{ dict|tojson(indent=2) }}", "{{ dict|tojson(indent=0) }}", "{{ people|tojson(indent='\t') }}", "{{ [quotes, '\\x00\\x1f\\x7f</script>']|tojson }}", "{{ quotes|tojson(ensure_ascii=true) }}", "{{ quotes|tojson(true) }}",
        "{{ [1, 1.5, 1e20, 1e-7, -0.0, true, none, 'é', (1, 2), [], {}]|tojson }}", "{{ [[], {}, [[]]]|tojson(indent=4) }}", "{{ {'b': 1, 'a': 2}|tojson(sort_keys=true) }}", "{{ dict|tojson(separators=(',', ':')) }}", "{{ dict|tojson(indent=1, separators=(', ', ': ')) }}",
        "{{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }}", "{{ undefined_name|tojson }}", "{{ {(1, 2): 3}|tojson }}", "{{ range(3)|tojson }}", "{{ dict.keys()|tojson }}", "{{ '<x>'|safe|tojson }}", "{{ [undefined_name]|tojson }}", "{{ none|tojson }}{{ 'a'|tojson|upper }}",
        "{{ 'inf'|float|tojson }} {{ 'nan'|float|tojson }}", "{{ {'a': {'b': [1, {'c': 2}]}}|tojson(indent=2) }}", "{{ people[0]|tojson|length }}", "{{ '<b>'|tojson|safe + '<' }}", "{{ dict|tojson(indent=none) }}",
    ],
    "tests": [
        "{{ word is defined }}{{ undefined_name is defined }}{{ dict.zz is defined }}{{ nothing is defined }}{{ undefined_name is undefined }}{{ undefined_name is not defined }}", "{{ nothing is none }}{{ zero is none }}{{ undefined_name is none }}{{ one is not none }}",
        "{{ word is string }}{{ 1 is string }}{{ ('a'|safe) is string }}{{ 1 is number }}{{ 1.5 is number }}{{ true is number }}{{ '1' is number }}{{ 1 is integer }}{{ true is integer }}{{ 1.0 is integer }}{{ 1.0 is float }}{{ 1 is float }}",
        "{{ true is boolean }}{{ 1 is boolean }}{{ true is true }}{{ 1 is true }}{{ false is false }}{{ 0 is false }}", "{{ dict is mapping }}{{ list is mapping }}{{ list is iterable }}{{ word is iterable }}{{ 1 is iterable }}{{ none is iterable }}{{ undefined_name is iterable }}{{ (list|map('int')) is iterable }}{{ dict.items() is iterable }}",
        "{{ list is sequence }}{{ word is sequence }}{{ dict is sequence }}{{ 1 is sequence }}{{ undefined_name is sequence }}{{ (list|map('int')) is sequence }}{{ dict.keys() is sequence }}{{ range(2) is sequence }}{{ (1,) is sequence }}",
        "{{ 1 is eq 1 }}{{ 1 is equalto(2) }}{{ 1 is ne 2 }}{{ 1 is lt 2 }}{{ 1 is gt(2) }}{{ 1 is in [1] }}{{ 'a' is in 'abc' }}{{ 3 is ge 3 }}{{ 3 is le 2 }}{{ 3 is lessthan 4 }}{{ 3 is greaterthan 4 }}{{ 1 is not in [2] }}", "{{ 3 is odd }}{{ 4 is even }}{{ 3 is even }}{{ 9 is divisibleby 3 }}{{ 9 is divisibleby(2) }}{{ -3 is odd }}",
        "{{ 'a' is odd }}", "{{ 1 is unknown_test }}", "{{ 1 is lt 'a' }}", "{{ undefined_name.x is defined }}", "{{ dict.zz.yy is defined }}", "{{ word is string is defined }}", "{{ word is defined and word is string or no }}", "{{ 'x' if word is string else 'y' }}", "{{ (word is string) == true }}", "{{ 5 is defined() }}",
        "{{ m is defined }}{% macro m() %}{% endmacro %}{{ m is defined }}", "{{ word.upper is defined }}{{ word.nope is defined }}{{ dict.items is defined }}{{ dict.get is mapping }}", "{{ namespace is defined }}{{ range is defined }}", "{{ 1 is number if yes }}",
    ],
    "methods of texts": [
        "[{{ text.strip() }}] [{{ text.lstrip() }}] [{{ text.rstrip() }}] [{{ 'xyaxy'.strip('xy') }}] [{{ 'xxa'.lstrip('x') }}] [{{ 'axx'.rstrip('x') }}] [{{ ' a '.strip(none) }}] [{{ 'éaé'.strip('é') }}]",
        "{{ 'a b  c'.split() }} {{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b c'.split(none, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ ' a  b '.split(maxsplit=1) }} {{ 'a<x>b'.split('<x>')[-1] }} {{ 'abc'.split('b', 0) }}", "{{ 'a'.split('') }}",
        "{{ 'a,b,c'.rsplit(',', 1) }} {{ 'a,b,c'.rsplit(',') }} {{ 'a\nb\r\nc'.splitlines() }}", "{{ word.startswith('ab') }}{{ word.startswith('b') }}{{ word.endswith('c') }}{{ word.endswith(('x', 'bc')) }}{{ word.startswith('') }}", "{{ word.startswith(1) }}",
        "{{ word.upper() }} {{ 'ABC'.lower() }} {{ \"it's a dog-house 3d x1y\".title() }} {{ 'hELLO'.capitalize() }} {{ 'ǆ'.title() }}", "{{ 'aaa'.replace('a', 'bb') }} {{ 'aaa'.replace('a', 'b', 1) }} {{ 'ab'.replace('', '-') }} {{ 'ab'.replace('', '-', 2) }}", "{{ 'a'.replace('a') }}",
        "{{ 'abcabc'.find('c') }} {{ 'abc'.find('x') }} {{ 'äöb'.find('b') }} {{ 'abcabc'.rfind('c') }} {{ 'aaa'.count('aa') }} {{ 'abc'.count('') }}", "{{ ', '.join(['a', 'b']) }} {{ ''.join('abc') }} {{ '-'.join(dict) }}", "{{ ','.join([1]) }}", "{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ 'abc'.removeprefix('x') }}",
        "{{ '{}-{}'.format(1, 'a') }} {{ '{1}{0}'.format('a', 'b') }} {{ '{x}{{}}'.format(x=[1]) }} {{ 'a'.format() }}", "{{ '{}'.format() }}", "{{ word.nope() }}", "{{ word.upper(1) }}", "{{ nothing.strip() }}", "{{ 5 .strip() }}", "{{ list.strip() }}", "{{ dict.zz.strip() }}",
        "{{ (text.strip())[0:5].lower().replace('l', 'L') }}", "{{ 'a' 'b'.upper() }}", "{{ word.strip }}"[:0] + "{{ 'x'.strip('') }}",
    ],
    "methods of dicts and lists": [
        "{{ dict.get('b') }} {{ dict.get('zz') }} {{ dict.get('zz', 'd') }} {{ dict.get('C')[0] }} {{ {1: 2}.get(1) }}", "{{ dict.get() }}", "{{ dict.items()|list }} {{ dict.keys()|list }} {{ dict.values()|list }}", "{{ list.index(1) }} {{ [1, 1, 2].count(1) }} {{ (1, 2).index(2) }}", "{{ list.index(9) }}",
        "{{ list.append(4) }}", "{{ dict.update({'a': 1}) }}", "{{ list.pop() }}", "{{ dict.pop('a') }}", "{{ dict.nope() }}", "{% for k, v in dict.items()|sort %}{{ k }}{% endfor %}"[:0] + "{{ {'items': 5}.items()|list }}", "{{ dict.get([1]) }}",
    ],
    "functions": [
        "{{ range(3)|list }} {{ range(1, 4)|list }} {{ range(6, 0, -2)|list }} {{ range(0)|list }} {{ range(3)[1] }} {{ range(5)|length }} {{ 2 in range(3) }}", "{{ range(1000000) }}", "{{ range('a') }}", "{{ range(1, 2, 0) }}", "{{ dict(a=1, b='x') }}"[:0] + "{{ namespace(a=1).a }}",
        "{{ raise_exception('no ' ~ word) }}", "{% if no %}{{ raise_exception('x') }}{% endif %}ok", "{{ strftime_now('%d %b %Y') }} {{ strftime_now('%Y-%m-%d %H:%M:%S %A %B %j %p %I %y %a %w %%') }}", "{{ undefined_function(1) }}", "{{ word() }}", "{{ 5() }}", "{{ range() }}",
    ],
    "unsupported": [
        "{{ 1e100|int }}", "{{ 9223372036854775807 + 1 }}", "{{ 99999999999999999999 }}", "{{ '%s' % 1 }}", "{{ range(3) }}", "{{ 'x'|center(5) }}", "{{ 'x'|escape }}", "{{ list|batch(2)|list }}", "{{ 'Straße'|upper }}", "{{ 'ΑΣ'|lower }}", "{{ 'x' is upper }}",
        "{{ 'x' is sameas 'x' }}", "{{ word.center(9) }}", "{{ word.find('b', 1) }}", "{{ '{:>5}'.format(1) }}", "{{ '{0[0]}'.format([1]) }}", "{{ dict.copy() }}", "{{ namespace(a=1) }}", "{{ '7'|int(0, 16) }}", "{{ 0x10 }}", "{% set é = 1 %}{{ é }}", "{{ '\\N{DASH}' }}",
        "{% call m() %}{% endcall %}{% macro m() %}{% endmacro %}"[:0] + "{% with a = 1 %}{{ a }}{% endwith %}", "{% autoescape false %}{% endautoescape %}", "{% block a %}x{% endblock %}", "{% for i in [1] recursive %}{{ i }}{% endfor %}", "{% for i in list %}{{ loop.cycle('a', 'b') }}{% endfor %}",
        "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(*[1]) }}", "{% macro m() %}{{ varargs }}{% endmacro %}"[:0] + "{{ joiner(', ')() }}", "{{ people|sort(attribute='age,name')|list|length }}", "{{ strftime_now('%c') }}", "{{ dict.keys() == dict.keys() }}", "{% macro m() %}{% endmacro %}{{ m.name }}",
    ],
    "generation": ["a{% generation %}b{{ word }}{% set q = 1 %}{% endgeneration %}c{{ q is defined }}", "{%- for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}", "{% generation %}a", "{% for i in list %}{% generation %}{% break %}{% endgeneration %}{% endfor %}"],
    "errors of the grammar": [
        "{{", "{{ }}", "{%", "{% %}", "{{ 1 + }}", "{{ (1 }}", "{{ [1 }}", "{{ 'a }}", "{# x", "{% raw %}x", "{{ 1 2 }}", "{{ a b }}", "{{ ) }}", "{{ (] }}", "{% nope %}", "{% for %}", "{% for x %}{% endfor %}", "{% set %}", "{% macro %}{% endmacro %}", "{% macro m %}{% endmacro %}",
        "{{ a. }}", "{{ a| }}", "{{ a is }}", "{{ a[ }}", "{{ {1} }}", "{{ {'a': } }}", "{{ f(a=1, 2) }}", "{{ f(,) }}", "{{ 'a' if }}", "{{ if }}"[:0] + "{{ ! }}", "{{ a $ b }}", "{{ a = 1 }}", "{% if a = 1 %}{% endif %}", "{% else %}", "{% elif %}", "{{ not }}", "{{ 1 < }}", "{{ a..b }}", "{{ 1 if 2 else }}", "{% set 5 = 1 %}", "{{ '\\x4' }}", "{{ 1 is 2 }}", "}} %} #}",
    ],
    "chat": [
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m['content'] | trim }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        "{{- bos_token }}{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<sys>none</sys>' }}{% endif %}{{'<' + message['role'] + '>' + message['content'] + '\n'}}{% endfor %}",
        "{%- if messages[0].role == 'system' %}{%- set system = messages[0].content %}{%- set rest = messages[1:] %}{%- else %}{%- set rest = messages %}{%- endif %}{%- for m in rest %}{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{%- endif %}{%- if loop.last and system is defined %}{{ system ~ '\n\n' }}{%- endif %}{{ '[' ~ m.content ~ ']' }}{%- endfor %}",
        "{%- macro show(m, last=false) -%}{{ m.role|upper }}: {{ m.content|tojson }}{{ '' if last else ',' }}{%- endmacro -%}{%- set ns = namespace(seen=[]) -%}{%- for m in messages -%}{%- if m.role not in ns.seen -%}{%- set ns.seen = ns.seen + [m.role] -%}{%- endif -%}{{ show(m, loop.last) }}{%- endfor -%}({{ ns.seen|join('/') }})",
    ],
}  # fmt: skip

ATOMS = [*VARIABLES, "undefined_name", "1", "2", "0", "-1", "'a'", "'ab c'", "''", "[1, 2]", "['x', 1]", "(1, 'y')", "{}", "{'a': 1, 'b': [2]}", "none", "true", "false", "1.5", "range(3)", "dict.items()", "people[0]", "messages[-1]", "list[1:]", "text[::-1]", "names[:-1]", "word[1:]", "word[-2:9]"]
SUFFIXES = [
    "|trim", "|length", "|upper", "|lower", "|title", "|capitalize", "|replace('a', 'bc')", "|tojson", "|tojson(indent=1)", "|default('d')", "|default('d', true)", "|first", "|last", "|items|list", "|dictsort", "|list", "|join('-')", "|string", "|int", "|float",
    "|abs", "|round", "|round(1)", "|safe", "|unique|list", "|sort", "|indent(2)", "|min", "|max", "|sum", "|reverse|list", "|map('string')|list", "|map(attribute='name')|list", "|select('defined')|list", "|selectattr('name')|list", "|reject('none')|list", "|map('length')|list",
    ".strip()", ".split()", ".split('b')", ".upper()", ".items()", ".get('a')", ".keys()", ".name", ".b", "['a']", "[0]", "[-1]", "['content']", ".startswith('a')", ".find('b')", ".values()|list", ".title()", ".lower()", ".count(1)", ".index('x')",
    " is defined", " is string", " is number", " is mapping", " is iterable", " is sequence", " is none", " is odd", " is in [1, 'a']", " is eq 1", " is integer", " is true", " is boolean", " is divisibleby 2",
]  # fmt: skip
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or", "if yes else", "if no else", "is defined and", "+ 1 +"]


def random_expression(rng, depth):
    choice = rng.random()
    if depth == 0 or choice < 0.2:
        return rng.choice(ATOMS)
    if choice < 0.6:
        return f"({random_expression(rng, depth - 1)}){rng.choice(SUFFIXES)}"
    if choice < 0.9:
        return f"({random_expression(rng, depth - 1)} {rng.choice(OPERATORS)} {random_expression(rng, depth - 1)})"
    return f"[{random_expression(rng, depth - 1)}, {random_expression(rng, depth - 1)}]"


def random_template(rng):
    pieces = []
    for _ in range(rng.randint(1, 4)):
        sign, end, space = rng.choice(["", "", "-", "+"]), rng.choice(["", "", "-"]), rng.choice(["", " ", "\n", " \n  ", "x", "\t"])
        value = random_expression(rng, rng.randint(1, 3))
        pieces.append(space + rng.choice([
            f"{{{{{sign.replace('+', '')} {value} {end}}}}}", f"{{%{sign} if {value} {end}%}}\n a {{%{end} else %}} b\n{{% endif {sign}%}}",
            f"{{%{sign} for v in {value} {end}%}}\n  {{{{ v }}}}{{{{ loop.last }}}}\n {{%- endfor {end}%}}", f"{{%{sign} set s = {value} {end}%}}\n[{{{{ s }}}}]",
            f"{{#{sign} note {end}#}}\n", f"{{%{sign} set s %}} {{{{ {value} }}}} {{% endset %}}[{{{{ s|trim }}}}]",
        ]))  # fmt: skip
    return "".join(pieces) + rng.choice(["", "\n", " \n\n"])


def render(template):
    class Then(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2024, 6, 7, 8, 9, 10)

    chat_template_utils.datetime = Then
    try:
        return chat_template_utils._compile_jinja_template(template).render(**copy.deepcopy(VARIABLES))
    except Exception:  # jinja2, and what Python raises inside a template
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("-o", default=os.path.join(os.path.dirname(__file__), "..", "src", "text", "testdata", "jinja_golden.json"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of Python, about what the templates do
    rng = random.Random(options.seed)
    cases = [(group, template) for group, templates in CASES.items() for template in templates]
    cases += [("random", random_template(rng)) for _ in range(options.random)]
    golden = []
    for group, template in cases:
        result = render(template)
        if result is not None and " at 0x" in result:
            continue  # the address of an object
        golden.append({"group": group, "template": template, "result": result})
    with open(options.o, "w") as file:
        file.write('{"variables": ' + json.dumps(VARIABLES) + ',\n"cases": [\n')
        file.write(",\n".join(json.dumps(case) for case in golden) + "\n]}\n")
    refused = sum(case["result"] is None for case in golden)
    print(f"{len(golden)} templates, {refused} of them refused")


if __name__ == "__main__":
    main()
