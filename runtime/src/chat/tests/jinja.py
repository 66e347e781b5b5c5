#!/usr/bin/env python3
"""Writes jinja.json: small templates, and the text that Hugging Face transformers makes of each; and
conversations.json: what it makes of conversations with each of templates/*.jinja.

    pip install "transformers>=5" jinja2 && python jinja.py

Every entry is [template, text], or [template, null] where transformers raises an error. `VARIABLES`
are those of every template. The moment of `strftime_now` is `NOW`.
"""

import datetime
import itertools
import json
import pathlib
import random

from transformers.utils.chat_template_utils import (
    _alias_reasoning_fields,
    _compile_jinja_template,
    _normalize_chat_messages,
)

NOW = "2026-03-09T08:05:07"
VARIABLES = {
    "a": 1,
    "b": 2.5,
    "big": 12345678901234567890,
    "neg": -7,
    "yes": True,
    "no": False,
    "nil": None,
    "s": "Hello World",
    "u": "Zürich straße",
    "e": "",
    "ws": "  x y \t\n",
    "html": "<a href=\"x\">'&'</a>",
    "path": "a/b/c",
    "lines": "one\n two\n\nthree\n",
    "l": [3, 1, 2],
    "el": [],
    "sl": ["b", "a", "C", "A"],
    "nest": [[1, 2], [3, [4, 5]]],
    "d": {"z": 1, "a": "x", "M": [1, None, True]},
    "ed": {},
    "deep": {"k": {"items": [1, 2], "get": "got"}},
    "people": [
        {"name": "Bo", "age": 30, "city": {"n": "Rom"}},
        {"name": "al", "age": 25, "city": {"n": "Oslo"}},
        {"name": "Cy", "age": 30, "city": {"n": "rom"}},
        {"name": "Di", "age": 4},
    ],
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello"},
        {"role": "user", "content": "Bye"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "The \"weather\" & <more>\nin Zürich",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "city": {"type": "string", "enum": ["Rom", "Bern"]},
                        "days": {"type": ["integer", "null"], "default": 3},
                    },
                    "required": ["city"],
                },
            },
        }
    ],
    "bos_token": "<s>",
    "add_generation_prompt": True,
}

TEMPLATES = []


def templates(*sources):
    TEMPLATES.extend(sources)


def values(*expressions):
    """Each expression printed; one that begins with ! as a repr, in a list."""
    TEMPLATES.extend("{{ " + expression + " }}" for expression in expressions)


# Literals, numbers and how they print.
values(
    "1", "-1", "1.0", "1.5", "0.1 + 0.2", "1e3", "1E-3", "2.5e10", "1e16", "1e15", "1e-5", "0.0001", "1.0e100",
    "1_000", "0x1F", "0b101", "0o17", "123456789012345678901234567890", "true", "True", "false", "False", "none", "None",
    "'a'", '"a"', "'a' 'b'", "'a\\nb'", "'a\\tb'", "'\\x41'", "'\\u00e9'", "'\\U0001F600'", "'\\\\'", "'\\''", '"\\""',
    "'\\/'", "'<\\/think>'", "'a\\\nb'", "'a\nb'", "'\\d\\q'", "'\\0'", "'\\101'", "'\\a\\b\\f\\v\\r'", "'\\N{BULLET}'", "'}}'", "'{{'",
    "'%}'", "'{% x %}'", "'{#'", "[1, 2]", "[1, 2,]", "[]", "(1, 2)", "(1,)", "()", "(1)", "{'a': 1}", "{'a': 1,}", "{}",
    "{1: 2, 'x': [3]}", "{'b': 1, 'a': 2}", "[1, 2.0, 'x', true, none, undefined_name]", "['a\\'b', \"a\\\"b\", 'a\\nb', 'é']",
    "[1.0, 1e20, 1e-7]", "{'a': {'b': {'c': none}}}", "[(1, 2), (3,)]", "[[], {}, ()]", "big", "neg", "b", "yes", "nil", "l", "d",
    "nest", "people", "ws", "u", "html", "[ws]", "undefined_name", "['\\\\']", "['\\x00\\x7f\\u200b']", "['\\'\"']",
    "a.real", "tools",
)

# Arithmetic and operators.
values(
    "1 + 2", "1 - 2", "2 * 3", "7 / 2", "6 / 2", "7 // 2", "-7 // 2", "7.5 // 2", "7 % 3", "-7 % 3", "7.5 % 2", "2 ** 3", "2 ** -1", "2 ** 0.5",
    "2 ** 3 ** 2", "-2 ** 2", "1 / 0", "1 // 0", "1 % 0", "'a' + 'b'", "'a' + 1", "1 + 'a'", "'a' * 3", "3 * 'ab'", "'a' * 0", "'a' * -1",
    "[1] + [2]", "[1] * 2", "[1] + (2,)", "(1,) + (2,)", "{} + {}", "'a' ~ 1 ~ none ~ true ~ 1.5", "1 ~ 2", "[1] ~ [2]", "'a' ~ undefined_name",
    "'a' ~ {'x': 1}", "true + 1", "true + true", "+a", "-a", "- -a", "not a", "not not a", "1 + 2 * 3", "(1 + 2) * 3", "10 - 2 - 3", "2 * 3 % 4",
    "undefined_name + 'x'", "'x' + undefined_name", "nil + 'x'", "undefined_name.x", "undefined_name['x']", "nil.x", "nil.x.y", "nil['x']", "a.x", "s.x",
    "s['x']", "l.x", "l[9]", "l[9].x", "d.q", "d.q.r", "d['q']", "d['q']['r']", "'%s and %s' % ('a', 1)", "'%s' % 'a'", "'%d' % 3.7", "'%5.2f|' % 3.14159",
    "'%-5s|' % 'a'", "'%05d' % 42", "'%+d' % 42", "'%x %X %o' % (255, 255, 8)", "'%e' % 12345.678", "'%g' % 0.00001", "'%r' % 'a'", "'%%' % ()", "'%(a)s-%(b)d' % {'a': 'x', 'b': 2}",
    "'100%'", "'%s' % [1, 2]", "'%s' % none", "'%s' % (none,)", "'%c' % 'x'", "'%s %s' % 'a'", "'%s' % ('a', 'b')", "s % 1", "'a%sb' % s + 'c'", "10 % 4 ~ 'x'",
    "'%s' % s | upper", "('%s' % s) | upper", "'%s' % (s | upper)", "\"%s\" % s.lower()", "'%.3s|' % s", "'%*d' % (5, 3)", "1 if a", "'x' if no", "'x' if no else 'y'", "('x' if no) is defined",
    "'a' if a == 1 else 'b' if a == 2 else 'c'", "5 // 2.0", "1e3 // 7", "7 % -3", "2.0 ** 2", "4 ** 0.5", "1 + 1.0", "3.0 * 2", "6.0 / 3", "10 ** 20", "2 ** 100",
)

# Comparisons, logic, membership.
values(
    "1 == 1.0", "1 == true", "'1' == 1", "'a' < 'b'", "'B' < 'a'", "[1, 2] == [1, 2]", "[1, 2] < [1, 3]", "(1, 2) == [1, 2]", "{'a': 1} == {'a': 1.0}", "{'a': 1, 'b': 2} == {'b': 2, 'a': 1}",
    "none == none", "none == false", "undefined_name == none", "undefined_name == undefined_other", "1 < 2 < 3", "1 < 3 < 2", "1 == 1 == 1", "1 != 2", "1 >= 1", "'a' != 'a'", "1 < 'a'", "none < 1",
    "a and b", "a and no", "no and b", "a or b", "no or b", "no or nil or e", "nil and a", "e or 'dflt'", "[] or 'x'", "not e", "not []", "not {}", "not nil", "not undefined_name", "not 0", "not 0.0", "not '0'",
    "1 in l", "9 in l", "1 not in l", "'ell' in s", "'x' in s", "'' in s", "'z' in d", "'q' in d", "1 in d", "none in [none]", "'a' in ('a', 'b')", "1 in (1,)", "a in [1.0]", "'a' in undefined_name", "1 in s", "'x' in nil",
    "'a' in 5", "not 'a' in s", "'H' in s and 'W' in s", "'a' in ['a'] == true", "1 in [1] and 2 in [2]", "messages[0].role == 'system' and messages|length > 1", "true is true", "a is none", "nil is none", "nil is not none", "a is defined", "undefined_name is defined",
    "undefined_name is not defined", "not undefined_name is defined", "d.q is defined", "d.z is defined", "d.q.r is defined", "undefined_name.x is defined", "undefined_name is undefined", "undefined_name is none",
)

# Tests.
values(
    *[f"{x} is {test}" for x in ["a", "b", "yes", "nil", "s", "l", "d", "undefined_name", "(1, 2)", "l|map('upper')", "range(2)"] for test in ["string", "number", "mapping", "sequence", "iterable", "boolean"]],
    *[f"{x} is {test}" for x in ["a", "b", "yes"] for test in ["integer", "float", "true", "false"]],
    "4 is even", "3 is odd", "4 is odd", "9 is divisibleby 3", "9 is divisibleby(2)", "9 is divisibleby 0", "a is eq 1", "a is equalto 1", "a is ne 2", "a is lt 2", "a is le 1", "a is gt 0", "a is ge 2", "a is == 1", "a is != 1", "a is lessthan 2", "a is greaterthan 2",
    "a is in l", "a is in([1])", "a is not in l", "'x' is in 'xyz'", "a is sameas 1", "nil is sameas none", "yes is sameas true", "1 is sameas true", "s is sameas s", "l is sameas l", "[1] is sameas [1]", "'abc' is lower", "'ABC' is upper", "'Abc' is lower", "'123' is upper", "s is escaped", "s is callable", "range is callable",
    "s.upper is callable", "'upper' is filter", "'nothing' is filter", "'odd' is test", "'nothing' is test", "a is nothing", "a is not none and a is number", "a is not string and b is not string", "(a is string) or (s is string)", "nil is string or nil is none", "not a is string", "a is number is true", "s is startingwith 'H'",
    "3 is odd and 4 is even", "a is defined and a", "l is not defined or l|length == 3",
)

# Subscripts, slices, attributes.
values(
    "l[0]", "l[-1]", "l[-4]", "l[3]", "s[0]", "s[-1]", "s[99]", "u[1]", "l[1:]", "l[:1]", "l[:]", "l[::-1]", "l[::2]", "l[-2:]", "l[:-1]", "l[5:]", "l[2:1]", "l[-9:9]", "l[1:3:1]", "l[2:0:-1]", "l[::-2]", "l[::0]", "s[1:4]", "s[::-1]", "s[-5:]", "s[:-6]", "u[:3]", "u[::-1]", "(1, 2, 3)[1:]", "(1, 2, 3)[::-1]",
    "[1, 2, 3][a:]", "l[a]", "l['0']", "l[true]", "l[1.0]", "l[none:]", "l[:none]", "d['z']", "d.z", "d['a']", "d['M'][0]", "d.M[0]", "d.M.0", "l.0", "l.1 + 1", "people[0].name", "people[0]['name']", "people[-1].name", "people[0].city.n", "deep.k.items", "deep.k['items']", "deep['k']['get']", "deep.k.get", "deep.k.get('x')", "d.items", "messages[1:][0].content",
    "messages[-1]['content'][::-1]", "messages[::-1][0].role", "(messages|last).role", "messages[0]['role']", "messages[99]", "messages[99].role", "d[nil]", "ed['x']", "range(5)[2]", "range(5)[1:3]", "range(10)[::3]|list", "'abc'[1]", "{'a': [1, 2]}['a'][1]", "d.M[1:]", "people[1:3]|length", "l[0:2][::-1]", "(l|list)[1:]", "s.split(' ')[0]", "s.split()[-1][0]", "d.keys()|list", "d.__class__",
    "s.__class__.__mro__", "messages[loopy]", "l[-1:]", "e[0]", "e[:1]", "u[-3:]",
)

# String methods.
values(
    *[f"s.{m}()" for m in "upper lower title capitalize swapcase strip lstrip rstrip split rsplit splitlines isalpha isdigit isalnum islower isupper isspace istitle isnumeric isdecimal isidentifier isascii casefold encode expandtabs nothing".split()],
    *[f"ws.{m}()" for m in "strip lstrip rstrip split title expandtabs".split()],
    "'xxaxx'.strip('x')", "'xyaxy'.strip('yx')", "'xyaxy'.lstrip('yx')", "'xyaxy'.rstrip('yx')", "'a'.strip(none)", "'a\\u00a0'.strip()", "'\\x1ca\\x1f'.strip()", "'\\ufeffa'.strip()", "'</think>x'.lstrip('</think>')",
    "'a,b,c'.split(',')", "'a,b,c'.split(',', 1)", "'a,b,c'.split(',', maxsplit=1)", "'a,b,c'.split(sep=',')", "'a  b c'.split()", "'a  b c '.split(none, 1)", "' a  b '.split(' ')", "'abc'.split('')", "''.split()", "''.split(',')", "'a,b,c'.rsplit(',', 1)", "'a b  c'.rsplit(none, 1)", "'a b c'.rsplit(maxsplit=1)", "'a,b'.split(',', 0)", "'a,b,c'.split(',', -1)", "'a<x>b<x>c'.split('<x>')|last", "'a\\x1cb'.split()",
    "'a\\nb\\r\\nc\\rd'.splitlines()", "'a\\nb\\n'.splitlines(true)", "'a\\nb\\n'.splitlines(keepends=True)", "'a\\x0bb\\x0cc\\x1cd\\x85e\\u2028f'.splitlines()", "''.splitlines()", "lines.splitlines()",
    "'abc'.startswith('a')", "'abc'.startswith(('x', 'ab'))", "'abc'.startswith(['a'])", "'abc'.startswith('b', 1)", "'abc'.startswith('b', 1, 2)", "'abc'.startswith('')", "'abc'.endswith('c')", "'abc'.endswith(('x', 'c'))", "'abc'.endswith('b', 0, 2)", "'abc'.endswith('')", "'abc'.startswith()", "'abc'.startswith(1)", "'abc'.startswith(())",
    "'banana'.find('an')", "'banana'.find('an', 2)", "'banana'.find('an', 2, 4)", "'banana'.rfind('an')", "'banana'.find('x')", "'banana'.index('n')", "'banana'.rindex('n')", "'banana'.index('x')", "'éa'.find('a')", "'banana'.find('')", "'banana'.count('an')", "'banana'.count('a', 2)", "'banana'.count('')", "'aaa'.count('aa')", "'banana'.count('a', -3, -1)",
    "'banana'.replace('a', 'o')", "'banana'.replace('a', 'o', 2)", "'banana'.replace('a', '')", "'abc'.replace('', '-')", "'abc'.replace('', '-', 2)", "'banana'.replace('a', 'o', -1)", "'banana'.replace('a', 'o', 0)", "'banana'.replace('a', 'o', count=1)", "'banana'.replace('a')", "'aaa'.replace('aa', 'b')",
    "'-'.join(['a', 'b'])", "'-'.join('abc')", "'-'.join([1, 2])", "''.join([])", "'-'.join(d)", "', '.join(sl|sort)", "'-'.join(('a', 'b'))", "'x'.join(people|map(attribute='name'))", "'abc'.removeprefix('a')", "'abc'.removeprefix('b')", "'abc'.removesuffix('c')", "'abc'.removesuffix('')", "'a=b=c'.partition('=')", "'a=b=c'.rpartition('=')", "'abc'.partition('=')", "'abc'.rpartition('=')", "'a=b'.partition('')",
    "'ab'.center(6)", "'ab'.center(5, '*')", "'abc'.center(6, '*')", "'ab'.ljust(5)~'|'", "'ab'.ljust(5, '.')", "'ab'.rjust(5)", "'ab'.rjust(5, '.')", "'42'.zfill(5)", "'-42'.zfill(5)", "'+4'.zfill(4)", "'abc'.zfill(2)", "'ab'.center(1)", "'a\\tb'.expandtabs(4)", "'a\\tb'.expandtabs()",
    "'{} {}'.format('a', 1)", "'{0} {1} {0}'.format('a', 'b')", "'{a}-{b}'.format(a=1, b='x')", "'{:5}|'.format('a')", "'{:>5}|'.format('a')", "'{:^5}|'.format('a')", "'{:*<5}|'.format('a')", "'{:05d}'.format(42)", "'{:.2f}'.format(3.14159)", "'{:,}'.format(1234567)", "'{:x} {:#x} {:b} {:o}'.format(255, 255, 5, 8)", "'{:e}'.format(12345.678)", "'{:%}'.format(0.25)", "'{!r}'.format('a')", "'{!s:>4}'.format(1)",
    "'{{}}'.format()", "'{a[0]} {a[1]}'.format(a=[1, 2])", "'{a.name}'.format(a=people[0])", "'{a[name]}'.format(a=people[0])", "'{}'.format(none)", "'{}'.format([1, 'a'])", "'{}'.format()", "'{'.format()", "'{:+}'.format(3)", "'{:.3}'.format('abcdef')", "'{:.3g}'.format(1234.5)", "'{:>{}}'.format('a', 5)", "'{}'.format(true)", "'{:d}'.format(true)", "'{}'.format(1.0)", "'{:_}'.format(1234567)", "'{0:>3}|{0:<3}|'.format(7)",
    "'a b'.title()", "\"don't stop\".title()", "'élan VITAL'.title()", "'ÉLAN'.lower()", "u.upper()", "u.capitalize()", "'ǆ'.title()", "'aBc'.swapcase()", "'ß'.casefold()", "'Abc Def'.istitle()", "'a1'.isidentifier()", "'1a'.isidentifier()", "'²'.isdigit()", "'½'.isnumeric()", "'٣'.isdecimal()", "''.isdigit()", "''.isalpha()", "' '.isspace()", "'abc1'.islower()", "'123'.islower()", "'abc'.maketrans('a', 'b')", "'abc'.translate({97: 'x'})",
    "s.lower().split(' ')|join('_')", "s.upper().lower().title()", "('a' ~ 'b').upper()", "'a'.upper() + 'b'", "messages[2].content.split('</think>')[-1].lstrip('\\n')", "messages[2].content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n')", "'</think>' in messages[2].content", "'a-b'.split('-', 1)[1]", "s.strip", "s.format_map({'a': 1})", "'{a}'.format_map({'a': 1})",
)

# Methods of lists, dicts, numbers.
values(
    "d.items()", "d.items()|list", "d.keys()", "d.values()", "d.keys()|list", "d.values()|list", "d.items()|length", "d.get('z')", "d.get('q')", "d.get('q', 'x')", "d.get('q', default='x')", "d.get()", "d.copy()", "d.pop('z')", "d.update({'a': 1})", "d.setdefault('x', 1)", "d.clear()", "d.nothing()", "ed.items()|list",
    "l.count(1)", "l.index(1)", "l.index(9)", "l.index(2, 1)", "l.append(4)", "l.extend([1])", "l.insert(0, 1)", "l.pop()", "l.sort()", "l.reverse()", "l.copy()", "(1, 2).count(1)", "(1, 2).index(2)", "l.nothing()", "a.bit_length()", "(255).bit_length()", "b.is_integer()", "(2.0).is_integer()", "a.nothing()", "nil.nothing()", "undefined_name.nothing()", "undefined_name()", "a()", "s()",
    "dict(a=1, b=2)", "dict({'a': 1}, b=2)", "dict([('a', 1)])", "dict()", "dict(a=1).items()|list", "dict.fromkeys(['a', 'b'], 0)", "range(3)", "range(3)|list", "range(1, 4)|list", "range(10, 0, -3)|list", "range(0)|list", "range(3)|length", "range(0, 10, 0)|list", "3 in range(5)", "range(200000)|length", "lipsum is defined", "cycler is defined", "joiner is defined",
    "namespace(a=1).a", "namespace({'a': 1}).a", "namespace(a=1).b", "namespace() is mapping", "range(3)|last", "range(5)|sum", "d.items()|first", "d.keys()|first", "(d.items()|first)[0]", "'z' in d.keys()", "1 in d.values()", "d.keys()|join(',')", "d|list", "d|first", "d|length", "d|last",
    "len(l)", "str(1)", "int('3')", "list(l)", "enumerate(l)", "zip(l, l)", "sorted(l)", "max(1, 2)", "min(l)", "sum(l)", "print(1)", "open('x')", "super()", "self", "loop",
)

# Filters, each with its arguments.
values(
    "-3|abs", "-3.5|abs", "'x'|abs", "true|abs", "d|attr('z')", "people[0]|attr('name')", "s|attr('upper')", "l|batch(2)", "l|batch(2)|list", "l|batch(2, 'x')|list", "range(5)|batch(2, fill_with=0)|list", "[]|batch(2)|list", "l|batch(2)|map('join', ',')|join(';')", "s|capitalize", "u|capitalize", "1|capitalize", "'ab'|center(6)", "'ab'|center(width=7)", "'ab'|center|length",
    "undefined_name|default", "undefined_name|default('x')", "undefined_name|d('x')", "e|default('x')", "e|default('x', true)", "nil|default('x')", "nil|default('x', true)", "no|default('x', boolean=true)", "e|default('x', boolean=true)", "undefined_name|default(default_value='x')", "0|default(5, true)", "d.q|default('x')", "d.q.r|default('x')", "undefined_name.x|default('x')", "undefined_name|default(none)", "nil|d",
    "d|dictsort", "d|dictsort(true)", "d|dictsort(false, 'key')", "d|dictsort(by='key', reverse=true)", "{'a': 2, 'b': 1}|dictsort(by='value')", "{'a': 2, 'b': 1}|dictsort(false, 'value', true)", "d|dictsort(by='nothing')", "{'b': 1, 'A': 2, 'a': 3}|dictsort(case_sensitive=true)", "l|dictsort", "html|e", "html|escape", "html|escape|escape", "html|forceescape", "html|safe", "(html|e) ~ '<'", "(html|e) + '<'", "'<' ~ (html|e)", "1|e", "1024|filesizeformat", "1000000|filesizeformat", "1000000|filesizeformat(true)", "1|filesizeformat",
    "l|first", "el|first", "s|first", "d|first", "undefined_name|first", "'3.5'|float", "'x'|float", "'x'|float(1.5)", "'x'|float(default=2)", "3|float", "nil|float", "'1e3'|float", "' 2 '|float", "'inf'|float", "'%s-%s'|format('a', 1)", "'%(x)s'|format(x=1)", "'%.2f'|format(3.14159)", "'%d'|format(3)", "'%s'|format", "people|groupby('age')", "people|groupby('age')|list", "people|groupby('city.n')", "people|groupby('city.n', default='?')|map(attribute='grouper')|list", "people|groupby('city.n', default='?', case_sensitive=true)|map('first')|list", "people|groupby(attribute='age')|map('last')|map('length')|list", "people|groupby('age')|map(attribute='list')|map('length')|list",
    "lines|indent", "lines|indent(2)", "lines|indent(2, true)", "lines|indent(2, first=true)", "lines|indent(2, blank=true)", "lines|indent(2, true, true)", "lines|indent('> ')", "lines|indent(width='--', first=true)", "e|indent(first=true)", "'a\\r\\nb'|indent(2)", "'a'|indent(0)", "'\\na'|indent(2)", "'3'|int", "'3.9'|int", "3.9|int", "-3.9|int", "'x'|int", "'x'|int(5)", "'x'|int(default=5)", "'ff'|int(base=16)", "'0xff'|int(0, 16)", "'0b11'|int(0, 2)", "'077'|int(base=8)", "nil|int", "nil|int(3)", "true|int", "'-5'|int", "' 5 '|int", "'1_000'|int", "'12345678901234567890123'|int", "'1e3'|int", "[]|int",
    "d|items", "d|items|list", "undefined_name|items|list", "l|items|list", "nil|items|list", "l|join", "l|join(',')", "l|join(', ', attribute='x')", "people|join(',', attribute='name')", "people|join(d=',', attribute='age')", "[1, none, true, 1.0]|join('-')", "s|join('-')", "d|join('-')", "nest|join('-')", "el|join", "undefined_name|join(',')", "5|join", "['<', html|safe]|join", "l|join(1)", "l|last", "el|last", "s|last", "d|last", "l|length", "s|length", "u|length", "d|length", "l|count", "5|length", "nil|length", "undefined_name|length", "range(3)|length", "l|map('string')|length",
    "l|list", "s|list", "d|list", "5|list", "undefined_name|list", "nil|list", "(1, 2)|list", "range(3)|list", "s|lower", "u|lower", "1|lower", "nil|lower", "true|lower", "[1, 'A']|lower", "sl|map('upper')|list", "sl|map('upper')", "people|map(attribute='name')|list", "people|map(attribute='city.n')|list", "people|map(attribute='city.n', default='?')|list", "people|map(attribute='nope')|list", "people|map(attribute='nope')|join(',')", "people|map(attribute='nope', default='x')|list", "['a,b']|map('replace', ',', ';')|list", "sl|map('default', 'x')|list", "sl|map('nothing')|list", "nest|map(attribute=0)|list", "nest|map('first')|list", "[[1, 2]]|map('join', '-')|list", "l|map('string')|list", "l|map()|list", "sl|map('upper')|map('lower')|join", "['1', '2']|map('int')|sum", "tools|map(attribute='function.name')|join(', ')", "tools|map(attribute='function')|map(attribute='name')|list", "el|map('upper')|list", "undefined_name|map('upper')|list", "nil|map('upper')|list", "['{}']|map('format', 1)|list",
    "l|max", "l|min", "el|max", "sl|max", "sl|min", "sl|max(case_sensitive=true)", "sl|min(true)", "people|max(attribute='age')", "people|min(attribute='age')", "(people|max(attribute='age')).name", "[1, 'a']|max", "l|pprint", "d|pprint", "s|pprint", "el|random", "sl|reject('equalto', 'a')|list", "l|reject('odd')|list", "[0, 1, none]|reject|list", "people|rejectattr('city')|list", "people|rejectattr('age', 'gt', 10)|map(attribute='name')|list", "s|replace('o', '0')", "s|replace('o', '0', 1)", "s|replace('o', '0', count=1)", "s|replace('', '-')", "123|replace('2', 'x')", "s|replace('o', 1)", "s|replace(1, 'x')", "s|replace('l')", "nil|replace('N', 'x')", "s|replace(old='o', new='0')", "l|reverse", "l|reverse|list", "s|reverse", "(1, 2)|reverse|list", "d|reverse|list", "5|reverse", "range(3)|reverse|list", "undefined_name|reverse|list",
    "2.5|round", "3.5|round", "2.567|round(2)", "2.567|round(2, 'floor')", "2.567|round(2, 'ceil')", "2.567|round(1, method='ceil')", "-2.5|round", "1234|round(-2)", "5|round", "2.5|round(method='floor')", "2.5|round(0, 'nothing')", "2.675|round(2)", "'x'|round", "1e20|round", "2.5|round|int", "0.5|round", "1.005|round(2)", "[1, 0, 2, none]|select|list", "l|select('odd')|list", "l|select('>', 1)|list", "l|select('gt', 1)|list", "sl|select('equalto', 'a')|list", "sl|select('in', ['a', 'b'])|list", "sl|select('nothing')|list", "l|select('odd')", "l|select('odd')|length", "(l|select('odd')|list)[0]", "[undefined_name, 1]|select('defined')|list", "people|selectattr('city')|map(attribute='name')|list", "people|selectattr('age', 'equalto', 30)|map(attribute='name')|list", "people|selectattr('city.n', 'equalto', 'Rom')|list", "people|selectattr('city', 'defined')|list|length", "people|selectattr('age', '>=', 30)|list|length", "people|selectattr('nope')|list", "messages|selectattr('role', 'equalto', 'user')|list", "messages|selectattr('role', 'eq', 'user')|map(attribute='content')|join('|')", "messages|selectattr('role', '==', 'user')|list|last", "messages|selectattr('role', 'in', ['user', 'system'])|list|length", "messages|rejectattr('role', 'equalto', 'system')|first",
    "l|slice(2)", "l|slice(2)|list", "range(7)|slice(3)|list", "range(7)|slice(3, 'x')|list", "range(2)|slice(3)|list", "range(2)|slice(3, fill_with=0)|list", "range(6)|slice(slices=3)|list", "l|sort", "l|sort(true)", "l|sort(reverse=true)", "sl|sort", "sl|sort(case_sensitive=true)", "sl|sort(false, true)", "people|sort(attribute='age')|map(attribute='name')|list", "people|sort(attribute='age,name')|map(attribute='name')|list", "people|sort(attribute='age', reverse=true)|map(attribute='name')|list", "people|sort(false, false, 'name')|map(attribute='name')|list", "[1, 'a']|sort", "d|sort", "s|sort", "[true, 0, 2]|sort", "[[2, 1], [1, 2]]|sort", "[none, 1]|sort", "people|sort(attribute='city.n')|list", "1|string", "1.0|string", "true|string", "nil|string", "l|string", "d|string", "undefined_name|string", "s|string", "'a'|string|length", "html|striptags", "'a <b>b</b>  c'|striptags", "l|sum", "el|sum", "l|sum(start=10)", "people|sum('age')", "people|sum(attribute='age', start=1)", "[1, 2.5]|sum", "['a']|sum", "[[1], [2]]|sum(start=[])",
    "s|title", "'foo-bar (baz) [qux] {x} <y>'|title", "\"don't DO\"|title", "u|title", "'a_b c.d'|title", "1|title", "ws|trim", "'xxaxx'|trim('x')", "'xyaxy'|trim(chars='yx')", "1|trim", "nil|trim", "undefined_name|trim", "'\\u00a0a\\u2003'|trim", "'foo bar baz qux'|truncate(9)", "'foo bar baz qux'|truncate(9, true)", "'foo bar baz qux'|truncate(11)", "'foo bar baz qux'|truncate(11, false, '...', 0)", "'foo bar baz qux'|truncate(9, end='')", "'foo bar baz qux'|truncate(length=9, killwords=true, leeway=0)", "'x'|truncate", "'foo bar'|truncate(2)", "('ab ' * 100)|truncate", "'foo bar baz'|truncate(5, false, '', 0)", "[1, 1, 2]|unique|list", "['a', 'A', 'b']|unique|list", "['a', 'A', 'b']|unique(true)|list", "['a', 'A']|unique(case_sensitive=true)|list", "people|unique(attribute='age')|map(attribute='name')|list", "[1, 1.0, true]|unique|list", "people|map(attribute='age')|unique|list", "[1, 1]|unique", "[[1], [1]]|unique|list",
    "s|upper", "u|upper", "'ß'|upper", "1|upper", "'a b&c/d?é'|urlencode", "{'a': 1, 'b': 'x y'}|urlencode", "[('a', 1)]|urlencode", "'http://x.org'|urlize", "'foo bar baz'|wordcount", "e|wordcount", "\"don't stop-it\"|wordcount", "'foo bar baz qux'|wordwrap(7)", "'foo bar'|wordwrap(7, wrapstring='|')", "'abcdefghij'|wordwrap(4)", "'abcdefghij klm'|wordwrap(4, false)", "'foo-bar baz'|wordwrap(5, break_on_hyphens=false)", "'a\\nb c d'|wordwrap(3)", "{'class': 'x', 'id': none, 'n': 1, 'q': '<'}|xmlattr", "{'a': 1}|xmlattr(false)", "{}|xmlattr", "{'a b': 1}|xmlattr", "s|nothing", "s|upper|lower|title", "s|upper~s|lower", "-1|abs", "1 + 2|abs", "(1 + -2)|abs", "s|length + 1", "'a' ~ s|length", "s|length > 3", "l|length == 3 and l|first == 3", "not l|length", "s|replace('o', '0')|upper|length", "l|sort|first", "s|split", "'a,b'|split(',')", "'a\\nb'|lines", "l|bool", "l|zip(l)|list", "l|chain([4])|list", "l|tojson|length",
)

# tojson.
values(
    *[f"{x}|tojson" for x in ["a", "b", "big", "yes", "nil", "s", "u", "html", "ws", "l", "d", "nest", "people", "e", "el", "ed", "tools", "tools[0].function", "undefined_name", "(1, 2)", "range(3)", "l|map('string')", "1e16", "1e-7", "1.0", "0.1", "-0.0", "1e400", "[1e20]", "'\\u2028\\x7f\\x00\\x1f\\b\\f'", "'\\U0001F600'", "'/'", "'\\\\'", "{1: 2, true: 3, none: 4, 1.5: 5}", "{(1, 2): 3}", "namespace(a=1)", "d.items()", "d.keys()", "d.items()|list", "dict(a=1)", "s|upper", "(s|e)"]],
    *[f"d|tojson({args})" for args in ["indent=2", "indent=0", "indent=4", "indent=none", "indent='\\t'", "indent='--'", "ensure_ascii=true", "ensure_ascii=false", "separators=(',', ':')", "separators=[',', ':']", "sort_keys=true", "indent=2, sort_keys=true", "indent=2, separators=(',', ': ')", "separators=(', ', '=')", "false, 2", "nothing=1", "indent=-1", "indent=true", "2"]],
    "u|tojson(ensure_ascii=true)", "'\\U0001F600'|tojson(ensure_ascii=true)", "u|tojson(true)", "tools|tojson(indent=4)", "el|tojson(indent=2)", "ed|tojson(indent=2)", "nest|tojson(indent=1)", "[[], {}, [[]]]|tojson(indent=2)", "{'b': {'d': 1, 'c': 2}, 'a': 3}|tojson(sort_keys=true)", "tools|tojson(separators=(',', ':'))", "d|tojson|upper", "d|tojson|safe", "('<' ~ d|tojson)", "{'a': s, 'l': l[1:]}|tojson", "{'b': 1, 'a': 2}|tojson", "['\"', \"'\"]|tojson", "tools|map('tojson')|join('\\n')", "{'x': undefined_name}|tojson", "{'x': range}|tojson", "(1, [2, (3,)])|tojson", "{'inf': 1e999}|tojson", "l|tojson(indent=20)",
)

# Statements: if, for and the loop.
templates(
    "{% if a %}x{% endif %}", "{% if no %}x{% else %}y{% endif %}", "{% if no %}x{% elif a %}y{% else %}z{% endif %}", "{% if not no and (a or b) %}x{% endif %}", "{% if undefined_name %}x{% else %}y{% endif %}", "{% if undefined_name.x %}x{% endif %}", "{% if a %}", "{% endif %}", "{% if %}x{% endif %}", "{% if a is defined and a is not none %}x{% endif %}",
    "{% for x in l %}{{ x }}{% endfor %}", "{% for x in l %}{{ x }},{% else %}none{% endfor %}", "{% for x in el %}{{ x }}{% else %}none{% endfor %}", "{% for x in l if x > 1 %}{{ x }}{% endfor %}", "{% for x in l if x > 9 %}{{ x }}{% else %}none{% endfor %}", "{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}{{ loop.last }} {% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d %}{{ k }}{% endfor %}",
    "{% for (a, b) in [(1, 2), (3, 4)] %}{{ a }}{{ b }};{% endfor %}", "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }};{% endfor %}", "{% for a, b in [[1, 2]] %}{{ a + b }}{% endfor %}", "{% for a, b in [[1, 2, 3]] %}{{ a }}{% endfor %}", "{% for a, b in [[1]] %}{{ a }}{% endfor %}", "{% for c in 'abc' %}{{ c }}.{% endfor %}", "{% for x in undefined_name %}{{ x }}{% endfor %}", "{% for x in undefined_name %}x{% else %}none{% endfor %}", "{% for x in nil %}{{ x }}{% endfor %}", "{% for x in 5 %}{{ x }}{% endfor %}", "{% for x in range(3) %}{{ x }}{% endfor %}", "{% for x in (1, 2) %}{{ x }}{% endfor %}", "{% for x in 1, 2 %}{{ x }}{% endfor %}", "{% for x in l|sort %}{{ x }}{% endfor %}", "{% for x in l[::-1] %}{{ x }}{% endfor %}", "{% for x in l|reverse %}{{ x }}{% endfor %}",
    *["{% for x in l %}{{ loop." + name + " }};{% endfor %}" for name in "index index0 revindex revindex0 first last length depth depth0 previtem nextitem nothing".split()],
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in [1, 1, 2] %}{{ loop.changed(x) }};{% endfor %}", "{% for x in l %}{% if loop.previtem is defined %}{{ loop.previtem }}<{% endif %}{{ x }}{% if loop.nextitem is defined %}>{{ loop.nextitem }}{% endif %};{% endfor %}", "{% for m in messages %}{% if loop.previtem and loop.previtem.role == 'user' %}+{% endif %}{{ m.role }}{% if not loop.last and loop.nextitem.role != 'user' %}!{% endif %};{% endfor %}", "{% for m in messages %}{{ loop.previtem.role }};{% endfor %}", "{% for m in messages if m.role == 'user' %}{{ loop.previtem.content if loop.previtem else '-' }};{% endfor %}",
    "{% for x in l %}{% for y in l %}{{ loop.index }}{{ loop.depth }}{% endfor %}{{ loop.index }};{% endfor %}", "{% for x in l %}{% set outer = loop %}{% for y in [1, 2] %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% break %}{% else %}none{% endfor %}", "{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ y }}{% endfor %};{% endfor %}", "{% break %}", "{% continue %}",
    "{% for x in nest recursive %}{% if x is iterable %}[{{ loop(x) }}]{% else %}{{ x }}{% endif %}{% endfor %}", "{% for x in nest recursive %}{{ loop.depth }}{% if x is iterable %}[{{ loop(x) }}]{% endif %}{% endfor %}", "{% for x in l %}{{ loop }}{% endfor %}", "{% for x in l %}{% endfor %}{{ x }}", "{% set x = 0 %}{% for x in l %}{% endfor %}{{ x }}", "{% set x = 0 %}{% for y in l %}{% set x = x + y %}{% endfor %}{{ x }}", "{% set x = 0 %}{% if true %}{% set x = 1 %}{% endif %}{{ x }}", "{% for y in l %}{% set x = y %}{{ x }}{% endfor %}", "{% set ns = namespace(x=0) %}{% for y in l %}{% set ns.x = ns.x + y %}{% endfor %}{{ ns.x }}", "{% set ns = namespace() %}{% set ns.a = 1 %}{% set ns.b = ns.a + 1 %}{{ ns.a }}{{ ns.b }}",
    "{% set ns = namespace(found=false) %}{% for m in messages %}{% if m.role == 'user' and not ns.found %}{% set ns.found = true %}{{ loop.index }}{% endif %}{% endfor %}{{ ns.found }}", "{% set ns = namespace(_x=1) %}", "{% set ns = namespace(x=1) %}{% set ns._y = 1 %}", "{% set d.x = 1 %}", "{% set ns = {} %}{% set ns.x = 1 %}", "{% set ns = namespace(l=[]) %}{% for x in l %}{% set ns.l = ns.l + [x * 2] %}{% endfor %}{{ ns.l }}", "{% for x in l if not loop.first %}{{ x }}{% endfor %}", "{% for i in range(messages|length - 1, -1, -1) %}{{ messages[i].role[0] }}{% endfor %}", "{% for m in messages %}{{ loop.index0 % 2 == 0 }}{% endfor %}", "{% for x in l %}{{ x }}{{ ', ' if not loop.last }}{% endfor %}", "{% for x in l -%} {{ x }} {%- endfor %}", "{% for m in messages[1:] %}{{ m.role }}{% endfor %}", "{% for x in l %}{{ loop.index }}{% endfor %}{% for x in l %}{{ loop.index }}{% endfor %}", "{% for k, v in {'a': 1}.items() %}{{ k ~ v }}{% endfor %}", "{% for k in d.keys() %}{{ k }}{% endfor %}{% for v in d.values() %}{{ v }}{% endfor %}",
    "{% for message in messages|selectattr('role', 'ne', 'system') %}{{ loop.index }}{{ message.role }}{% endfor %}", "{% for x in l|map('string') %}{{ loop.last }}{% endfor %}", "{% for x in l|map('string') %}{{ loop.length }}{% endfor %}", "{% for g in people|groupby('age') %}{{ g.grouper }}:{{ g.list|map(attribute='name')|join(',') }};{% endfor %}", "{% for age, list in people|groupby('age') %}{{ age }}:{{ list|length }};{% endfor %}", "{% for row in l|batch(2, '-') %}{{ row|join }};{% endfor %}", "{% for x in l recursive %}{{ x }}{% endfor %}", "{% for i in range(3) %}{% for j in range(i) %}{{ i }}{{ j }} {% endfor %}{% endfor %}", "{% for x in [1, 2] %}{% for x in [3] %}{{ x }}{% endfor %}{{ x }}{% endfor %}", "{% for role, text in [('a', 'b')] %}{{ role }}{{ text }}{% endfor %}", "{% for x in l %}{{ x if x != 1 else 'one' }}{% endfor %}", "{% for a.b in l %}{% endfor %}", "{% for x in l if loop.index %}{% endfor %}",
)

# set, with, macro, call, filter, raw, comments, scopes.
templates(
    "{% set x = 1 %}{{ x }}", "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set (x, y) = [1, 2] %}{{ x }}{{ y }}", "{% set x = 1, 2 %}{{ x }}", "{% set x, y = 1 %}", "{% set x %}a{{ a }}b{% endset %}{{ x }}", "{% set x | upper %}a{{ a }}b{% endset %}{{ x }}", "{% set x | replace('a', 'z') | upper %}ab{% endset %}{{ x }}", "{% set x %}{% endset %}{{ x|length }}", "{% set x %}  y  {% endset %}{{ x|trim }}|", "{% set x -%}  y  {%- endset %}{{ x }}|", "{% set x = none %}{{ x is none }}", "{% set x = x|default('q') %}{{ x }}", "{% set a = a + 1 %}{{ a }}", "{% set x = 'a' if yes else 'b' %}{{ x }}", "{% set x = undefined_name %}{{ x is defined }}", "{% set messages = messages[1:] %}{{ messages[0].role }}", "{% set x = {'a': 1} %}{{ x.a }}{{ x['a'] }}", "{% set x = [] %}{% set _ = x.append(1) %}{{ x }}", "{% set x = 1 -%}   {{ x }}", "{% set x=1%}{{x}}",
    "{% if yes %}{% set q = 1 %}{% else %}{% set q = 2 %}{% endif %}{{ q }}", "{% if no %}{% set q = 1 %}{% endif %}{{ q is defined }}", "{% with %}{% set x = 1 %}{{ x }}{% endwith %}{{ x }}", "{% with x = 1, y = 2 %}{{ x + y }}{% endwith %}", "{% with x = 1 %}{% with y = x %}{{ y }}{% endwith %}{% endwith %}", "{% with a = 5, b = a %}{{ b }}{% endwith %}",
    "{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f(1) }}{{ f('a') }}", "{% macro f(x, y=2) %}{{ x }}{{ y }}{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(y=1, x=2) }}", "{% macro f(x='d') %}{{ x }}{% endmacro %}{{ f() }}{{ f(none) }}", "{% macro f(x) %}{{ x is defined }}{% endmacro %}{{ f() }}", "{% macro f(x) %}{{ x }}{% endmacro %}{{ f() }}|", "{% macro f(x) %}{{ x }}{% endmacro %}{{ f(1, 2) }}", "{% macro f(x) %}{{ x }}{% endmacro %}{{ f(z=2) }}", "{% macro f() %}{{ varargs }}{% endmacro %}{{ f(1, 2) }}", "{% macro f() %}{{ kwargs }}{% endmacro %}{{ f(a=1) }}", "{% macro f(x) %}{{ x }}{{ varargs|length }}{% endmacro %}{{ f(1, 2, 3) }}", "{% macro f() %}{{ caller() }}{% endmacro %}{% call f() %}in{% endcall %}", "{% macro f() %}<{{ caller(1, 'b') }}>{% endmacro %}{% call(x, y) f() %}{{ x }}{{ y }}{% endcall %}", "{% macro f() %}{{ caller is defined }}{% endmacro %}{{ f() }}", "{% macro f(x) %}{% if x > 0 %}{{ x }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{% macro f(x) -%}\n  {{ x }}\n{%- endmacro %}{{ f(1) }}|", "{% macro f() %}{{ a }}{% endmacro %}{{ f() }}", "{% set q = 1 %}{% macro f() %}{{ q }}{% endmacro %}{% set q = 2 %}{{ f() }}", "{% macro f() %}{% set q = 5 %}{{ q }}{% endmacro %}{{ f() }}{{ q }}", "{% macro f(x, y=x) %}{{ y }}{% endmacro %}{{ f(3) }}", "{% macro f(l=[1, 2]) %}{{ l|sum }}{% endmacro %}{{ f() }}", "{% macro f(x) %}{{ x|upper }}{% endmacro %}{{ f('a')|lower }}{{ f('b') ~ 'c' }}{{ f('d') + 'e' }}", "{% macro f() %}x{% endmacro %}{{ f().strip() }}{{ f() == 'x' }}{{ f()|length }}", "{{ f(1) }}{% macro f(x) %}{{ x }}{% endmacro %}", "{% macro f(x) %}{{ x }}{% endmacro %}{% for i in l %}{{ f(i) }}{% endfor %}", "{% macro f(m) %}{{ m.role }}:{{ m.content }}{% endmacro %}{% for m in messages %}{{ f(m) }}\n{% endfor %}", "{% macro g(x) %}<{{ x }}>{% endmacro %}{% macro f(x) %}{{ g(x) }}{% endmacro %}{{ f(1) }}", "{% macro f(x) %}{{ x }}{% endmacro %}{{ f.name }}{{ f.arguments }}", "{% macro f(x) %}{% set ns = namespace(v='') %}{% for c in x %}{% set ns.v = c ~ ns.v %}{% endfor %}{{ ns.v }}{% endmacro %}{{ f('abc') }}", "{% macro f(x) %}a{{ x }}{% endmacro %}{% set y = f(2) %}{{ y }}", "{% macro f(x) %}{{ x }}{% endmacro %}{{ [f(1), f(2)]|join('-') }}", "{% macro f(x) %}{% endmacro %}{{ f }}|", "{% macro f(**k) %}{% endmacro %}", "{% macro f(x, x) %}{% endmacro %}{{ f(1, 2) }}", "{% macro a.b() %}{% endmacro %}", "{% macro f(x) %}{{ x }}{% endmacro x %}", "{% macro f(x) %}{{ x }}{% endmacro %}{% call f(1) %}{% endcall %}", "{% for i in [1] %}{% macro f() %}{{ i }}{% endmacro %}{{ f() }}{% endfor %}", "{% macro f(d, ind=0) %}{% for k, v in d.items() %}{{ ' ' * ind }}{{ k }}:\n{% if v is mapping %}{{ f(v, ind + 2) }}{% endif %}{% endfor %}{% endmacro %}{{ f({'a': {'b': {}}, 'c': 1}) }}",
    "{% filter upper %}a{{ s }}{% endfilter %}", "{% filter replace('a', 'b')|upper %}aa{% endfilter %}", "{% filter indent(2) %}a\nb{% endfilter %}", "{% filter trim %}  x {% endfilter %}|", "{% raw %}{{ a }}{% x %}{# #}{% endraw %}", "{% raw -%}  {{ a }}  {%- endraw %}", "{%- raw %} x {% endraw -%} y", "{% raw %}a", "a{# c #}b", "a {#- c -#} b", "{# {{ a }} {% if %} #}x", "{# open", "{# a #}\n{# b #}\nx", "a\n  {# c #}\nb", "{% block x %}a{% endblock %}", "{% block x %}a{{ a }}{% endblock x %}{{ self.x() }}", "{% extends 'x' %}", "{% include 'x' %}", "{% include 'x' ignore missing %}ok", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% do l %}", "{% autoescape true %}{{ html }}{% endautoescape %}", "{% autoescape false %}{{ html }}{% endautoescape %}", "{% debug %}", "{% trans %}x{% endtrans %}", "{% nothing %}", "{{ a", "{% if a", "{{ }}", "{{ a b }}", "{{ 'a }}", "{{ a. }}", "{{ a| }}", "{{ (a }}", "{{ [1, }}", "{{ a is }}", "{{ 1 + }}", "{{ a ? b : c }}", "{{ a && b }}", "{{ !a }}", "{{ a = 1 }}", "{{ lambda x: x }}", "{{ [x for x in l] }}", "{{ *l }}", "{{ f(*l) }}", "{{ dict(**d) }}", "{{ a; b }}", "{{ $a }}", "{{ a }} }}", "}} %} #}", "{ { a } }", "{", "{{", "{%", "", "\n", "x\n", "x\n\n",
    "{{ raise_exception('no') }}", "{% if no %}{{ raise_exception('no') }}{% endif %}ok", "{{ raise_exception() }}", "{{ raise_exception(1) }}", "{{ raise_exception(message='x') }}", "{{ strftime_now('%Y-%m-%d %H:%M:%S') }}", "{{ strftime_now('%d %b %Y|%A, %B %-d|%a %y %j|%I %p|%e|%D|%R|%u %w|%U %W %V %G|%C|%h|%n%t|%%') }}", "{{ strftime_now('%c|%x|%X|%r') }}", "{{ strftime_now(format='%d') }}", "{{ strftime_now() }}", "{{ strftime_now is defined }}", "{% set t = strftime_now %}{{ t('%d') }}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}", "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.reset() }}{{ c.next() }}", "{% set j = joiner(',') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}", "{% set j = joiner() %}{{ j() }}a{{ j() }}b", "{% set c = cycler() %}", "{% set c = cycler('odd', 'even') %}{% for x in l %}{{ c.next() }}{% endfor %}", "{% set j = joiner(' | ') %}{{ j() }}{% if a %}x{% endif %}{{ j() }}y",
    "{{ undefined_name() }}", "{{ undefined_name.x() }}", "{{ d.q() }}", "{{ s.upper }}", "{{ messages[0].content.nothing() }}", "{{ caller() }}", "{{ loop.index }}", "{{ self }}", "{{ varargs }}", "{% set x = loop %}", "{{ 'a' is defined }}", "{{ x.y.z }}", "{% if x.y.z %}{% endif %}", "{{ not_defined['a']['b'] }}",
)

# White space.
templates(
    "a\n{% if yes %}\nb\n{% endif %}\nc\n", "a\n  {% if yes %}\n  b\n  {% endif %}\nc", "a\n  {%+ if yes %}\n  b\n  {% endif %}\nc", "a\n{% if yes +%}\nb\n{% endif %}c", "a {%- if yes -%} b {%- endif -%} c", "a \n\n {{- s -}} \n\n b", "  {{ s }}  \n  x", "{{ s }}\n{{ s }}\n", "{{ s -}}\n  x", "x\n  {{- s }}", "{%- if yes %}  x  {%- endif %}  y", "\t{% if yes %}\tx\t{% endif %}\ty", "x {% if yes %} y {% endif %} z", "  x {% if yes %} y", "{% for x in l %}\n{{ x }}\n{% endfor %}\n", "{% for x in l %}\n  {{ x }}\n{% endfor %}\n", "{% for x in l -%}\n  {{ x }}\n{%- endfor %}\n", "{% for x in l %}{{ x }}\n{% endfor %}", "{%- for x in l %}\n    {{- x }}\n{%- endfor %}\n", "a\n{# c #}\nb", "a\n  {# c #}  \nb", "a {#- c -#}\n b", "a\n{#- c #}\nb", "{% set x = 1 %}\n{% set y = 2 %}\n{{ x }}", "\n{% set x = 1 %}\n\nx", "{% if yes %}{% endif %}\n\nx", "{% if yes %}\n\n\nx{% endif %}", "{{ '\\n' }}\nx", "{{ '\\n' -}}\nx", "x\r\ny\r\n", "{% if yes %}\r\nx\r\n{% endif %}\r\ny", "a\rb\r", "{{ 'a\r\nb'|length }}", "{# c\r\n#}\r\nx", "{% raw %}\r\nx{% endraw %}\r\ny", "{{ 'a' }}\r\n\r\n", "x\n\n\n", "x \n", "{{- ' a ' -}}", " {{- a -}} {{- a -}} ", "{{-a-}}", "{{ -a }}", "{{--a}}", "{{- -a -}}", "{%-if yes-%}x{%-endif-%}", "{%+ if yes +%} x {%+ endif +%}", "{%- set x = 1 -%}\n\n{{- x -}}\n", "{{ a }}{% if yes %}\n{% endif %}{{ a }}", "{{ a }} {% if yes %}\n {% endif %} {{ a }}", "    {% if yes %}x{% endif %}", "y    {% if yes %}x{% endif %}", "{% if yes %}\n    {{ a }}\n{% else %}\n    {{ b }}\n{% endif %}", "{% if yes -%}\n    {{ a }}\n{%- else -%}\n    {{ b }}\n{%- endif %}", "{%- if yes %}\n{{- 'x' }}\n{%- endif %}\n", "\u00a0{%- if yes %}x{% endif %}", "\u2003{% if yes %}x{% endif %}", "x\u00a0{{- a }}", "x\u0085{{- a }}", "x\u001c{{- a }}", "\ufeff{{- a }}", "x\x0b{{- a }}\x0c", "{{ a -}}\x0b\x0c y", "{% raw %}\n  x\n{% endraw %}\ny", "  {% raw %} x {% endraw %}\n  y", "a\n\n  {%- raw -%}  x  {%- endraw -%}  b", "{{ a }}\n", "{{ a }}\n\n", "{% if yes %}x{% endif %}\n", "{%- macro f() %}\n x \n{% endmacro -%}\n{{ f() }}|", "{%- macro f() -%}\n x \n{%- endmacro -%}\n{{ f() }}|", "{% set x %}\n  y\n{% endset %}\n[{{ x }}]", "{% call f() %}", "# x\n## y\n", "{% if yes %}{# c #}\n{% endif %}x", "-{%- if yes -%}-{%- endif -%}-", "{{ s }}{#- x -#}   {{ s }}", "{% if yes %}    {% endif %}|", "{%- if yes %}    {%- endif %}|", "\n\n{% if yes %}\n\n{% endif %}\n\n", "{%if yes%}x{%endif%}", "{{\na\n}}", "{%\nif yes\n%}x{%\nendif\n%}", "{{ a\n+\n1 }}", "{%- if yes\n   and a -%}\n x{% endif %}",
)

# The tag of transformers.
templates(
    "{% generation %}x{% endgeneration %}", "a {%- generation -%} x {%- endgeneration -%} b", "a {% generation %} x {% endgeneration %} b", "{% generation %}\nx\n{% endgeneration %}\ny", "  {% generation %}\n  x\n  {% endgeneration %}\ny", "{%-generation-%} x {%-endgeneration-%}", "{%+ generation +%}\nx{% endgeneration %}", "{# {% generation %} #}x", "{{ '{% generation %}' }}", "{% raw %}{% generation %}{% endraw %}", "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}", "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}", "{% generation %}x", "{% endgeneration %}", "{% for x in l %}{% generation %}{{ loop.index }}{% endgeneration %}{% endfor %}", "{% set generation = 1 %}{{ generation }}", "{% set ns = namespace(x=1) %}{% generation %}{% set ns.x = 2 %}{% endgeneration %}{{ ns.x }}", "{% generation %}{% if yes %}x{% endif %}{% endgeneration %}", "{% if yes %}{% generation %}a{% endgeneration %}{% else %}{% generation %}b{% endgeneration %}{% endif %}", "{%- generation %}\n    {{- 'x' }}\n{%- endgeneration %}\n", "{% generation x %}{% endgeneration %}",
)

# What whole templates do.
templates(
    "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "{%- if tools %}\n    {{- '# Tools\\n' }}\n    {%- for tool in tools %}\n        {{- '\\n' }}\n        {{- tool | tojson }}\n    {%- endfor %}\n{%- endif %}",
    "{%- for tool in tools %}{%- set f = tool.function %}{{ f.name }}({% for name, p in f.parameters.properties.items() %}{{ name }}: {{ p.type if p.type is string else p.type|join(' | ') }}{% if name not in f.parameters.required %} = {{ p.default|tojson }}{% endif %}{{ ', ' if not loop.last }}{% endfor %}){% endfor %}",
    "{%- macro render(x, depth) %}{%- if x is mapping %}{%- for k, v in x|items %}\n{{ '  ' * depth }}{{ k }}:{{ render(v, depth + 1) }}{%- endfor %}{%- elif x is iterable and x is not string %}{%- for i in x %}\n{{ '  ' * depth }}-{{ render(i, depth + 1) }}{%- endfor %}{%- else %} {{ x }}{%- endif %}{%- endmacro %}{{ render(tools, 0) }}",
    "{%- set ns = namespace(is_first=true, out='') -%}{%- for m in messages -%}{%- if m['role'] == 'system' -%}{%- set ns.out = m['content'] -%}{%- endif -%}{%- endfor -%}{{ bos_token }}{{ ns.out }}{%- for m in messages -%}{%- if m['role'] == 'user' -%}{{ '<U>' + m['content'] }}{%- endif -%}{%- if m['role'] == 'assistant' and m['content'] is not none -%}{%- set c = m['content'] -%}{%- if '</think>' in c -%}{%- set c = c.split('</think>')[-1] -%}{%- endif -%}{{ '<A>' + c + '<E>' }}{%- endif -%}{%- endfor -%}",
    "{%- set last = namespace(i=-1) %}{%- for m in messages %}{%- if m.role == 'user' %}{%- set last.i = loop.index0 %}{%- endif %}{%- endfor %}{{ last.i }}{%- for m in messages %}{{ '*' if loop.index0 > last.i else '.' }}{%- endfor %}",
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set sys = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% endif %}{% for m in loop_messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}{% if loop.index0 == 0 and sys is defined %}{% set content = '<<SYS>>\\n' + sys + '\\n<</SYS>>\\n\\n' + m['content'] %}{% else %}{% set content = m['content'] %}{% endif %}{{ '[INST] ' + content.strip() + ' [/INST]' if m.role == 'user' else ' ' + content.strip() + ' </s>' }}{% endfor %}",
    "{%- set q = messages|selectattr('role', 'equalto', 'user')|list %}{%- for m in messages %}{{ m == q[-1] }},{%- endfor %}",
    "{%- set today = strftime_now('%Y-%m-%d') if strftime_now is defined else 'never' %}{{ today }}",
    "{{ messages | title }}", "{{ '<think>o\\'NEIL a-b (c {d [e f\tΣΑΣ' | title }}",
    "{{ messages | map(attribute='role') | join(' ') }}", "{{ (messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list)[-1] }}",
    "{%- for m in messages|reverse %}{{ m.role }} {%- endfor %}", "{{ tools | length }} {{ tools[0].function.parameters.properties | length }}", "{{ tools | map(attribute='function') | list | tojson(indent=4) }}",
    "{%- for m in messages %}{%- if m.tool_calls is defined and m.tool_calls %}t{%- elif m.get('tool_calls') %}u{%- elif 'tool_calls' in m %}v{%- else %}n{%- endif %}{%- endfor %}",
    "{% set content = messages[0].content %}{% if content is string %}{{ content }}{% elif content is iterable %}{% for c in content %}{{ c.text }}{% endfor %}{% endif %}",
    "{{ '\n'.join(messages | map(attribute='role')) }}", "{%- for name in tools[0].function.parameters.properties %}{{ name }}={{ tools[0].function.parameters.properties[name].type }};{%- endfor %}",
    "{{ 'Today is ' ~ strftime_now('%d') ~ '.' }}", "{%- set x = (messages|length // 2) * 3 %}{{ x }}", "{{ messages[-1].content[:2] ~ '..' if messages[-1].content|length > 2 else '' }}", "{{ {'name': tools[0].function.name, 'arguments': {'city': u}} | tojson }}",
)


def random_templates(count):
    """Tags and white space in random order: what is trimmed, and what is not."""
    draw = random.Random(7)
    spaces = ["", " ", "\n", "  \n", "\n  ", "\t", "x", " y ", "\n\n", "\r\n"]
    for _ in range(count):
        parts, open_tags = [], []
        for _ in range(draw.randrange(3, 9)):
            parts.append(draw.choice(spaces))
            left, right = draw.choice(["", "", "-", "+"]), draw.choice(["", "", "-", "+"])
            minus = "-" if right == "-" else ""
            kind = draw.choice(["expr", "if", "for", "set", "comment", "end", "end", "generation"])
            if kind == "expr":
                parts.append("{{" + left.replace("+", "") + " a " + minus + "}}")
            elif kind == "comment":
                parts.append("{#" + left.replace("+", "") + " c " + minus + "#}")
            elif kind == "set":
                parts.append("{%" + left + " set q = 1 " + right + "%}")
            elif kind == "end" and open_tags:
                parts.append("{%" + left + " end" + open_tags.pop() + " " + right + "%}")
            elif kind in ("if", "for", "generation"):
                head = {"if": "if yes", "for": "for i in [1, 2]", "generation": "generation"}[kind]
                open_tags.append(kind)
                parts.append("{%" + left + " " + head + " " + right + "%}")
        parts += ["{% end" + tag + " %}" for tag in reversed(open_tags)]
        parts.append(draw.choice(spaces))
        yield "".join(parts)


TEMPLATES.extend(random_templates(150))


CALL = {"type": "function", "id": "call12345", "function": {"name": "weather", "arguments": {"city": "Zürich", "days": 3}}}
SECOND = {"type": "function", "id": "call67890", "function": {"name": "get_time", "arguments": {}}}
USER = [{"role": "user", "content": "How warm is it in Zürich? /think"}]
SYSTEM = [{"role": "system", "content": " Be kind. /no_think\n"}]
ANSWER = [{"role": "assistant", "content": "<think>\nI ask.\n</think>\n\nHow should I know?"}]
THOUGHT = [{"role": "assistant", "content": "It's \"warm\".", "reasoning_content": "Warm?"}]
CALLS = [{"role": "assistant", "content": "", "tool_calls": [CALL]}]
TWO_CALLS = [{"role": "assistant", "content": None, "tool_calls": [CALL, SECOND]}]
RESULT = [{"role": "tool", "name": "weather", "tool_call_id": "call12345", "content": "21 °C"}]
TWO_RESULTS = RESULT + [{"role": "tool", "name": "get_time", "tool_call_id": "call67890", "content": "noon"}]
PARTS = [{"role": "user", "content": [{"type": "text", "text": " a "}, {"type": "text", "text": "b"}]}]

CONVERSATIONS = [
    USER,
    SYSTEM + USER,
    USER + ANSWER + USER,
    SYSTEM + USER + ANSWER + USER + THOUGHT + USER,
    SYSTEM + USER + CALLS + RESULT,
    SYSTEM + USER + CALLS + RESULT + THOUGHT + USER,
    USER + TWO_CALLS + TWO_RESULTS,
    USER + TWO_CALLS + TWO_RESULTS + ANSWER + USER,
    USER + CALLS + RESULT + CALLS + RESULT,
    PARTS,
    PARTS + ANSWER,
    USER * 2,
    SYSTEM + SYSTEM + USER,
]
SETTINGS = [
    {},
    {"tools": VARIABLES["tools"]},
    {"tools": VARIABLES["tools"], "documents": [{"doc_id": 7, "text": "One line that is long enough\nand another"}]},
    {"enable_thinking": False, "controls": {"length": "long"}, "add_generation_prompt": False},
]


def conversations():
    for path in sorted(pathlib.Path(__file__).with_name("templates").glob("*.jinja")):
        template = path.read_text(encoding="utf-8")
        for messages, settings in itertools.product(CONVERSATIONS, SETTINGS):
            variables = {"add_generation_prompt": True, "tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>"}
            chat = _alias_reasoning_fields(_normalize_chat_messages(messages))
            text = render(template, variables | settings | {"messages": chat})
            yield [path.name, CONVERSATIONS.index(messages), SETTINGS.index(settings), text]


def render(source, variables=VARIABLES):
    moment = datetime.datetime.fromisoformat(NOW)
    try:
        # A function of the same name in the variables takes the place of the environment's.
        def strftime_now(format):
            return moment.strftime(format)

        text = _compile_jinja_template(source).render(**variables, strftime_now=strftime_now)
        return None if " at 0x" in text else text
    except RecursionError:
        raise
    except Exception:
        return None


def main():
    sources = list(dict.fromkeys(TEMPLATES))
    lines = [json.dumps([source, render(source)], ensure_ascii=False) for source in sources]
    head = json.dumps({"now": NOW, "variables": VARIABLES}, ensure_ascii=False)[:-1]
    text = head + ', "templates": [\n' + ",\n".join(lines) + "\n]}\n"
    pathlib.Path(__file__).with_name("jinja.json").write_text(text, encoding="utf-8")
    cases = list(conversations())
    lines = [json.dumps(case, ensure_ascii=False) for case in cases]
    head = json.dumps({"now": NOW, "conversations": CONVERSATIONS, "settings": SETTINGS}, ensure_ascii=False)[:-1]
    text = head + ', "texts": [\n' + ",\n".join(lines) + "\n]}\n"
    pathlib.Path(__file__).with_name("conversations.json").write_text(text, encoding="utf-8")
    print(len(sources), "templates", len(cases), "conversations")


if __name__ == "__main__":
    main()
