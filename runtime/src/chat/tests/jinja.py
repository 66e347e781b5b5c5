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
    "{% set ns = namespace(c=0) %}{% macro f(x) %}{% set ns.c = x %}{% endmacro %}{{ f(4) }}{{ ns.c }}", "{% set ns = namespace(c=0) %}{% macro w() %}{{ caller() }}{% endmacro %}{% call w() %}{% set ns.c = 'q' %}{% endcall %}{{ ns.c }}", "{% set ns = namespace(c=0) %}{% macro f() %}{% set ns.c %}x{% endset %}{% endmacro %}{{ f() }}{{ ns.c }}", "{% set ns = namespace(c=0) %}a \n  {%- set ns.c = 1 -%} \n b\n  {% set ns.c = 2 %}\n  {%+ set ns.c = 3 +%}\nc", "{% set zz.c = 2 %}", "{% macro f(a, b=a) %}{{ b }}{% endmacro %}{{ f(3) }}{{ f(3, 4) }}{{ f(b=1, a=2) }}", "{% macro g(x) %}<{{ x }}>{% endmacro %}{% macro f(a, b=g(a), c=[b, '%}'], d=1) -%}  \n {{ b }}{{ c }}{{ d }}{% endmacro %}{{ f(3) }}|{{ f(3, 1, d=5) }}", "{% macro f(spec, type=spec.type, n=spec['x=1']|default('-')) %}\n{{ type }}{{ n }}\n{% endmacro %}{{ f({'type': 'string'}) }}", "{% macro f(a, b=a ~ 'x') %}{{ b }}{{ varargs }}{% endmacro %}{{ f(1) }}{{ f(1, 2, 3) }}", "{% macro f() %}{{ caller(1) }}{{ caller(1, 2) }}{% endmacro %}{% call(x, y=x, z=s) f() %}{{ y }}{{ z }}{% endcall %}", "{% macro f(x=1) %}{{ caller() }}{{ x }}{% endmacro %}{% call f(x=a) %}c{% endcall %}", "{% macro f(a, b=s) %}{{ b }}{% endmacro %}{{ f(1) }}{{ f(1, none) }}", "{{ zz is sequence }}{{ zz is iterable }}{{ zz is mapping }}{{ a is sequence }}",
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


# Texts in which a control token could begin or end: lists, mappings and texts of them.
VARIABLES |= {
    "m": "<a>, [b]; (c)-{d} | 'e' /f/ #g &h; _i_ *j* =k= %l% .n. -3",
    "ml": ["<b>", "[a]", "(C)", "<b>", "a", "-4", "'x'", ".5"],
    "md": {"<k>": 1, "[j]": "(v)", "z": ["<b>", None]},
    "mo": [
        {"t": "<b>", "n": 2, "o": {"p": "[y]"}},
        {"t": "[a]", "n": 1, "o": {"p": "<x>"}},
        {"t": "<B>", "n": 3, "o": {"p": "[y]"}},
    ],
    "huge": [9223372036854775807, -9223372036854775808, 18446744073709551615],
}

# The filters that compare, and what they compare with.
values(
    "ml|sort", "ml|sort(true)", "ml|sort(case_sensitive=true)", "ml|sort|first", "ml|unique|list", "ml|unique(true)|list", "ml|min", "ml|max", "ml|max(true)", "mo|sort(attribute='t')|map(attribute='n')|list", "mo|sort(attribute='o.p,n')|map(attribute='n')|list", "mo|sort(attribute='o.p', reverse=true)|map(attribute='n')|list", "mo|min(attribute='t')", "mo|max(attribute='o.p')", "mo|unique(attribute='t')|map(attribute='n')|list", "mo|unique(attribute='t', case_sensitive=true)|map(attribute='n')|list",
    "mo|groupby('t')|list", "mo|groupby('o.p')|map(attribute='grouper')|list", "mo|groupby('t', case_sensitive=true)|length", "mo|groupby('q', default='<d>')|list", "mo|groupby('q')|list", "(mo|groupby('t')|first).grouper", "(mo|groupby('t')|first).list|length", "(mo|groupby('t')|first)[1]|length", "mo|groupby('n')|map('first')|sort|list", "mo|map(attribute='t')|list", "mo|map(attribute='o.p')|join('|')", "mo|map(attribute='q', default='<d>')|list", "ml|map('upper')|list", "ml|map('replace', '<', '(')|list", "ml|map('length')|list", "ml|map('trim', '<>')|list", "ml|map('int')|list", "ml|map('float')|list", "ml|map('tojson')|list",
    "ml|select('equalto', '<b>')|list", "ml|reject('equalto', '<b>')|list", "ml|select('in', ['<b>', '[a]'])|list", "ml|reject('in', '<b>[a]')|list", "ml|select('ne', '<b>')|list", "ml|select('lt', '[')|list", "ml|select('>', '<')|list", "ml|select('ge', '<b>')|list", "ml|select('le', '<b>')|list", "mo|selectattr('t', 'equalto', '<b>')|map(attribute='n')|list", "mo|rejectattr('t', 'eq', '<b>')|map(attribute='n')|list", "mo|selectattr('o.p', 'in', ['[y]'])|map(attribute='n')|list", "mo|selectattr('t', '!=', '[a]')|list|length", "mo|selectattr('t', 'lower')|list|length", "mo|selectattr('t')|list|length",
    "ml|batch(3)|list", "ml|batch(3, '<f>')|list", "ml|slice(3)|list", "ml|slice(3, '<f>')|list", "md|dictsort", "md|dictsort(true)", "md|dictsort(by='value')", "{'b': '<', 'a': '['}|dictsort(by='value')", "md|dictsort(reverse=true)", "md|items|list", "md.items()|list", "md.keys()|list", "md.values()|list", "md['<k>']", "md.get('[j]')", "md.get('<q>', '<d>')", "'<k>' in md", "'(v)' in md.values()", "'<b>' in md.z", "ml|first", "ml|last", "ml|join('<,>')", "ml|join", "ml|reverse|list", "ml|list", "ml|length", "ml|string", "ml|pprint", "md|tojson", "md|tojson(indent=1)", "ml|tojson(ensure_ascii=true)", "md|xmlattr",
    "ml.index('[a]')", "ml.index('<q>')", "ml.count('<b>')", "ml.count('<b')", "'<b>' in ml", "'<b' in ml", "ml == ['<b>', '[a]', '(C)', '<b>', 'a', '-4', \"'x'\", '.5']", "ml[0] == ml[3]", "ml[:2] == ['<b>', '[a]']", "ml[0] < ml[1]", "ml[0] is eq '<b>'", "ml[0] is in ['<b>']", "ml[0] is sameas ml[0]", "ml[1] is gt '<b>'", "m is string", "m is lower", "ml[0] is upper", "ml[5]|int", "ml[5]|float", "ml[7]|float", "ml[7]|int", "ml[5]|abs",
)

# Methods and filters of such a text.
values(
    *[f"m.{method}()" for method in "upper lower title capitalize swapcase casefold strip split rsplit splitlines isalpha isalnum isdigit isidentifier isprintable isascii islower isupper istitle isspace expandtabs".split()],
    *[f"m|{name}" for name in "upper lower title capitalize trim length first last list string e forceescape striptags urlencode wordcount reverse tojson pprint safe indent truncate(12) truncate(12,true) wordwrap(9) wordwrap(4) center(80) replace('<','[') replace('-','') batch(9)|list escape|upper int float filesizeformat".split()],
    "'a' ~ 1e20", "'a' ~ [1e-7]", "1e22|string ~ ''", "['a', 1e22]|join", "'%s' % 1e22", "'{}'.format(1e22)", "'a' ~ {'b': [1e22, \"it's\"]}", "1e22|upper", "[none, true, 1e22]|join(',')", "['a']|join(1.5)", "people|join(';', 'name')", "nest|join", "m ~ 1.0 ~ ml ~ nil", "'a' ~ 1 is string", "1 ~ 2 == '12'", "'%5s|' % 'é'", "'{:<5}|'.format('é')", "ml|map('center', 5)|list", "l|map('tojson', indent=2)|list", "sl|map('default', 'x', boolean=true)|list", "people|map('nothing')|list", "[d]|map(attribute='z')|list", "l|map|list", "l|map(1)|list", "sl|map('replace', old='a')|list", "people|map(attribute='city', default={})|map(attribute='n', default='-')|list", "people|map(attribute='city.n', nothing=1)|list",
    "m.split(',')", "m.split('; ', 1)", "m.rsplit(' ', 2)", "m.rsplit(maxsplit=1)", "m.split(none, 3)", "m.partition('-')", "m.rpartition('-')", "m.partition('?')", "m.find('[')", "m.rfind('/')", "m.index('%')", "m.index('?')", "m.count('-')", "m.replace('<', '«')", "m.replace('-', '--', 1)", "m.startswith('<')", "m.startswith(('[', '<'))", "m.endswith('3')", "m.endswith('-3')", "m.removeprefix('<a>')", "m.removesuffix('-3')", "m.strip('<3')", "m.lstrip('<>a,')", "m.rstrip('-3')", "m[:5]", "m[-2:]", "m[::-1]", "m[3:20:3]", "m[20:3:-4]", "m[-1]", "m[0] ~ m[-2]", "ml[5].zfill(6)", "ml[5].isdigit()", "ml[5].rjust(5, '*')", "ml[0].center(9, '-')", "ml[0].ljust(6, '.')", "'-'.join(ml)", "ml[0].join(['x', 'y'])", "'%s|%s' % (ml[0], ml[1])", "'{}|{a}'.format(ml[0], a=ml[1])", "'{:>6}'.format(ml[0])", "'%6s|' % ml[0]", "m * 2", "m + ml[0]", "m ~ ml", "ml + [ml[0]]", "m|replace(ml[0], '')", "m|default('x')", "m|d('x', true)", "m == m|string", "m|upper|lower == m",
)

# Whole numbers of any size, floats as Python prints them.
values(
    "huge", "huge[0] + 1", "huge[1] - 1", "huge[2] + 1", "huge[2] * huge[2]", "huge[0] * huge[2]", "-huge[1]", "-huge[2]", "huge[1]|abs", "huge[0] // 2", "huge[0] % 10", "huge[1] % 10", "huge[2] / 2", "huge|sum", "huge|max", "huge|min", "huge|sort", "huge[2]|tojson", "huge|tojson", "huge[2] == 18446744073709551615", "huge[2] > huge[0]", "huge[0]|float", "huge[2]|string", "huge[2] ~ ''", "'%d' % huge[2]", "'{:,}'.format(huge[2])", "huge[2]|int", "'18446744073709551616'|int", "'-170141183460469231731687303715884105728'|int", "170141183460469231731687303715884105727", "170141183460469231731687303715884105727 + 1", "170141183460469231731687303715884105728", "340282366920938463463374607431768211456", "99999999999999999999999999999999999999999999999999", "2 ** 62", "2 ** 63", "2 ** 64", "2 ** 126", "2 ** 127", "2 ** 128", "2 ** 200", "10 ** 38", "10 ** 39", "3 ** 90", "(-2) ** 127", "-2 ** 127", "2 ** 64 * 2 ** 64", "10 ** 30 * 10 ** 30", "10 ** 30 // 7", "10 ** 30 % 7", "10 ** 30 / 10 ** 29", "10 ** 30 == 1e30", "1e30|int", "1e40|int", "1e300|int", "'1e40'|int", "2 ** 63|int", "range(9223372036854775807)|length", "huge[0].bit_length()", "huge[2]|filesizeformat", "1.0 * huge[2]", "huge[2] + 0.5", "1 if huge[2] is integer else 0",
    "1e22", "1e21 + 1", "123456789.123456789", "1.7976931348623157e308", "5e-324", "2.5e-5", "0.00012345", "1e16 + 1", "100000.0 * 3", "1 / 3", "2 / 3 * 3", "1e308 * 10", "-1e308 * 10", "0.1 + 0.7", "1.1 * 1.1", "-0.0", "0.0 == -0.0", "7.0 // 2", "-7 // 2.0", "-7.5 // 2", "7 // -2", "7 % -2.5", "-7 % 2.5", "0.3 % 0.1", "2 ** 0.5", "2 ** -2", "(-8) ** 2", "0 ** 0", "0 ** -1", "4 ** 0.5 // 1", "10 // 0.3", "1_000.5", "1e5|int", "3.999|int", "1e5|string", "[1e5, 1e-5, 1e17]", "1e5|tojson", "[0.1, 1e17, -0.0]|tojson", "1.5|round", "-1.5|round(0, 'ceil')", "1234.5678|round(2)|string", "1e16|round(1)", "3|round(1)", "true / 2", "true * 2.5",
)

# tojson and its settings.
values(
    "'é\u2028\U0001F600\\x7f'|tojson", "'é\u2028\U0001F600\\x7f'|tojson(ensure_ascii=true)", "{'é': 'ü'}|tojson(ensure_ascii=true)", "{'b': [1, {'d': [], 'c': {}}], 'a': ()}|tojson(indent=3, sort_keys=true)", "{'b': 1, 'a': {'d': 2, 'c': 3}}|tojson(sort_keys=true, separators=(',', ':'))", "[1, [2, [3]]]|tojson(indent=2, separators=(', ', ' : '))", "{1: 'a', '1': 'b'}|tojson", "{2: 1, 10: 2}|tojson(sort_keys=true)", "{'a': 1, 2: 3}|tojson(sort_keys=true)", "{none: 1}|tojson", "{true: 1, 0: 2}|tojson", "{1.5: 1}|tojson(indent='')", "[]|tojson(indent=1)", "[[]]|tojson(indent=0)", "'\\\\\"/'|tojson", "tools|tojson(indent=1, sort_keys=true)", "tools|tojson(indent=none, separators=(',', ': '))", "messages|tojson", "html|tojson(ensure_ascii=true)", "[undefined_name]|tojson", "d|tojson(2)", "d|tojson(indent='  ', separators=none)", "d|tojson(separators=(','))", "(a, b)|tojson", "1|tojson(indent=2)",
)

# Loops, macros, blocks.
templates(
    "{% for x in nil %}a{% else %}b{% endfor %}", "{% for x in d.q %}a{% else %}b{% endfor %}", "{% for x in yes %}a{% endfor %}", "{% for x in b %}a{% endfor %}", "{{ nil|list }}", "{{ nil|join }}", "{{ nil|sort }}", "{{ nil|map('upper')|list }}", "{{ nil|select|list }}", "{{ nil|sum }}", "{{ nil|unique|list }}", "{{ nil|first }}", "{{ nil|last }}", "{{ nil|min }}", "{{ nil|reverse }}", "{{ nil|batch(2)|list }}", "{{ nil|groupby('a')|list }}", "{{ nil|length }}", "{{ 'a' in nil }}", "{{ nil + 1 }}", "{{ nil|int }}", "{{ ','.join(nil) }}", "{{ undefined_name|sort }}", "{{ undefined_name|unique|list }}", "{{ undefined_name|min }}", "{{ undefined_name|groupby('a')|list }}", "{{ undefined_name|dictsort }}", "{{ undefined_name|sum }}", "{{ undefined_name|reverse|list }}",
    "{% for x in nest recursive %}{% if x is iterable %}[{{ loop(x) }}]{% else %}{{ x }}{{ loop.depth }}{% endif %}{% endfor %}", "{% for x in [{'n': 1, 'c': [{'n': 2}, {'n': 3, 'c': [{'n': 4}]}]}] recursive %}{{ loop.depth0 }}{{ x.n }}{% if x.c %}({{ loop(x.c) }}){% endif %}{% endfor %}", "{% for x in l recursive if x > 1 %}{{ x }}{% endfor %}", "{% for x in l if x > 1 recursive %}{{ x }}{% endfor %}", "{% for m in messages %}{% if loop.changed(m.role) %}{{ m.role }}{% endif %};{% endfor %}", "{% for t in mo %}{{ loop.changed(t.o.p) }}{% endfor %}", "{% for x in ml %}{{ loop.changed(x) }}{% endfor %}", "{% for x in l %}{% for y in l %}{{ loop.index }}{{ loop.last }}{% endfor %}{{ loop.index }};{% endfor %}", "{% for x in l %}{% set outer = loop %}{% for y in l %}{{ outer.index }}{% endfor %}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if loop.index == 2 %}{% break %}{% endif %}{{ x }}{% else %}e{% endfor %}", "{% for x in 'a', 'b' %}{{ x }}{% endfor %}", "{% for k, v in md.items() %}{{ k }}{{ v }}{% endfor %}", "{% for x in ml if x != '<b>' %}{{ x }}{{ loop.index }}{% endfor %}", "{% for x in l %}{{ +x }}{{ + -x }}{% endfor %}", "{% for a in [] %}x{% else %}{% for b in l %}{{ b }}{% endfor %}{% endfor %}", "{% for x in l or [9] %}{{ x }}{% endfor %}", "{% for x in el or [9] %}{{ x }}{% endfor %}", "{% for x in (l if no else [7]) %}{{ x }}{% endfor %}", "{% for x in l + [4] if x is odd %}{{ x }}{% endfor %}", "{% for x in (l)|sort if not loop %}{{ x }}{% endfor %}",
    "{% macro f() %}{{ varargs }}{% endmacro %}{{ f() }}{{ f(1, 'a') }}", "{% macro f(a) %}{{ a }}{{ varargs|join('-') }}{% endmacro %}{{ f(1) }}{{ f(1, 2, 3) }}", "{% macro f(a, b=5) %}{{ a }}{{ b }}{{ kwargs }}{% endmacro %}{{ f(1) }}{{ f(1, c=2, d=3) }}{{ f(b=1, a=2, e=4) }}", "{% macro f(a) %}{{ varargs }}{{ kwargs.x }}{% endmacro %}{{ f(1, 2, x=3) }}", "{% macro f(a) %}{% for v in varargs %}{{ v }},{% endfor %}{% for k, v in kwargs.items() %}{{ k }}={{ v }};{% endfor %}{% endmacro %}{{ f(1, 2, 3, x=4, y=5) }}", "{% macro f(a) %}{{ varargs }}{% endmacro %}{{ f(1, 2, x=3) }}", "{% macro f(a) %}{{ kwargs }}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(a=1, b=2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, a=2) }}", "{% macro f(a) %}{{ kwargs }}{% endmacro %}{{ f(1, a=2) }}", "{% macro f() %}{{ caller() }}{{ varargs }}{% endmacro %}{% call f(1, 2) %}x{% endcall %}", "{% macro f() %}[{{ caller(1, 2) }}]{% endmacro %}{% call(a, b) f() %}{{ a + b }}{% endcall %}", "{% macro f() %}{% if caller %}{{ caller() }}{% else %}none{% endif %}{% endmacro %}{{ f() }}{% call f() %}x{% endcall %}", "{% macro f() %}{{ caller() }}{% endmacro %}{{ f() }}", "{% macro f(x) %}{% for i in x %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(i) f(ml) %}<{{ i }}>{% endcall %}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% macro f(n) %}{{ n }}{{ varargs|length }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3, 4) }}", "{%- macro f() -%} {{ varargs }} {%- endmacro -%} \n {{ f(1) }}", "{% macro f() %}\n{{ kwargs }}\n{% endmacro %}\n{{ f(a=1) }}\n", "{% macro f(x, y='(') %}{{ x ~ y }}{{ varargs }}{% endmacro %}{{ f('a', 'b', 'c') }}{{ f('a') }}", "{% macro f(kwargs) %}{{ kwargs }}{% endmacro %}{{ f(1) }}", "{% macro f(x=[]) %}{{ x }}{% endmacro %}{{ f() }}{{ f(none) }}", "{% macro f(a, b) %}{{ a }}{{ b is defined }}{% endmacro %}{{ f(1) }}", "{% macro f() %}{{ s }}{% endmacro %}{% set s = 'x' %}{{ f() }}", "{% macro f() %}{% macro g() %}{{ varargs }}{% endmacro %}{{ g(1) }}{% endmacro %}{{ f() }}", "{% macro f() %}a{% endmacro %}{{ f()|upper ~ f() }}", "{% if yes %}{% macro f() %}{{ varargs }}{% endmacro %}{% endif %}{{ f(1) }}",
    "{% set x %}a{{ a }}{% endset %}{{ x }}", "{% set x | upper %}a<b{% endset %}{{ x }}", "{% set x | replace('a', 'b') | trim %} aa {% endset %}[{{ x }}]", "{%- set x -%} y {%- endset -%}[{{ x }}]", "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set x, y = ml[:2] %}{{ x }}{{ y }}", "{% set x = 1, 2 %}{{ x }}", "{% set ns = namespace(a=1, b=[]) %}{% set ns.a = ns.a + 1 %}{% set ns.b = ns.b + [2] %}{{ ns.a }}{{ ns.b }}", "{% set ns = namespace(d, x=1) %}{{ ns.a }}{{ ns.x }}", "{% set ns = namespace() %}{% for x in l %}{% set ns.t = (ns.t or 0) + x %}{% endfor %}{{ ns.t }}", "{% set d.x = 1 %}", "{% set ns = namespace() %}{% set ns.x %}y{% endset %}{{ ns.x }}", "{% for x in l %}{% set t = x %}{% endfor %}{{ t }}", "{% if yes %}{% set t = 1 %}{% endif %}{{ t }}", "{% filter upper %}a{{ s }}{% endfilter %}", "{% filter replace('a', 'b')|upper %}aa{% endfilter %}", "{% filter indent(2) %}a\nb{% endfilter %}", "{% filter nothing %}a{% endfilter %}", "{% with x = 1, y = 2 %}{{ x + y }}{% endwith %}{{ x }}", "{% with %}{% set x = 1 %}{{ x }}{% endwith %}{{ x }}", "{% block b %}x{{ a }}{% endblock %}", "{% block b scoped %}x{% endblock b %}", "{% include 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% extends 'x' %}", "{% extends nil %}", "{% call s.upper() %}x{% endcall %}", "{{ ml.append('x') }}", "{{ md.update({'x': 1}) }}", "{{ md.pop('<k>') }}", "{{ ml.sort() }}", "{{ ml.remove('a') }}", "{{ md.setdefault('a', 1) }}", "{{ md.popitem() }}", "{% do ml.append('x') %}", "{% set _ = ml.append('x') %}{{ ml|length }}",
    "{{ '%s' % ('a',) }}", "{{ '%s' % ('a', 'b') }}", "{{ 'a' % 'b' }}", "{{ 'a' % () }}", "{{ 'a' % {} }}", "{{ 'a' % [] }}", "{{ 'a%%' % 1 }}", "{{ '%s%%' % 1 }}", "{{ '%s %(a)s' % {'a': 1} }}", "{{ '%.3f|%-6.2f|%06.1f|%+.0f' % (1.0005, 2.345, -3.14, 2.5) }}", "{{ '%5d|%-5d|%05d|% d' % (42, 42, -42, 42) }}", "{{ '%i' % 3 }}", "{{ '%s' % true }}", "{{ '%d' % true }}", "{{ '%x' % -255 }}", "{{ '{:>8.3f}|{:<8}|{:^8}|{:+d}'.format(3.14159, 'a', 'b', 7) }}", "{{ '{:08.2f}'.format(-3.14159) }}", "{{ '{:,.2f}'.format(1234567.891) }}", "{{ '{0!s}'.format('a') }}", "{{ '{a}'.format(**d) }}", "{{ '{:g}'.format(0.00001) }}", "{{ '{:s}'.format(1) }}", "{{ '{:d}'.format(1.5) }}",
    "{{ s is defined and s is not none and s is string }}", "{{ 3 is divisibleby 3 is true }}", "{{ l is sequence and l is iterable and l is not mapping }}", "{{ d is mapping and d is iterable and d is sequence }}", "{{ s is sequence }}", "{{ 1 is not string }}", "{{ 'upper' is filter and 'x' is not filter }}", "{{ 'eq' is test }}", "{{ 1 is integer and 1.0 is float and true is boolean and true is not integer }}", "{{ true is number }}", "{{ 1.0 is integer }}", "{{ range is callable and s is not callable }}", "{{ 'abc' is in 'xabcx' }}", "{{ 1 is in l and 9 is not in l }}", "{{ none is none and undefined_name is not none }}", "{{ 2 is even and 2 is not odd }}", "{{ 1 is lt 2 and 2 is ge 2 and 'a' is ne 'b' }}", "{{ 1 is lt 'a' }}", "{{ nil is lt 1 }}", "{{ [1] is lt [2] }}", "{{ d is eq d and l is eq [3, 1, 2] }}", "{{ 'A' is upper and 'a' is lower and '1' is upper }}", "{{ 'é'.isalpha() and '٣'.isdigit() and 'Ⅷ'.isnumeric() and 'a\u0301'.isalpha() }}",
    "{{ [1, 'a']|min }}", "{{ [1, none]|max }}", "{{ [{}, {}]|sort }}", "{{ [[1, 'b'], [1, 'a']]|sort }}", "{{ [(2, 'b'), (1, 'a')]|sort }}", "{{ [true, false, 1]|sort }}", "{{ [1.5, 1, 2]|sort(reverse=true) }}", "{{ ['a', 'B', 'A', 'b']|sort }}", "{{ ['a', 'B', 'A', 'b']|sort(reverse=true) }}", "{{ [none]|sort }}", "{{ [{}]|sort }}", "{{ people|sort(attribute='nope')|list }}", "{{ people[:1]|sort(attribute='nope') }}", "{{ people|sort(attribute='age,name', reverse=true)|map(attribute='name')|list }}", "{{ nest|sort(attribute=0)|list }}", "{{ nest|min(attribute=0) }}", "{{ nest|groupby(0)|list }}", "{{ [[1, 2], [1, 3]]|groupby(0)|map('last')|list }}", "{{ ['b', 'a', 'B']|unique|list }}", "{{ ['b', 'B']|unique|join }}", "{{ [1, true, 1.0, '1']|unique|list }}", "{{ [(1, 2), (1, 2)]|unique|list }}", "{{ [{}, {}]|unique|list }}", "{{ {'b': 1, 'a': 1}|dictsort(by='value')|map('first')|list }}", "{{ {2: 'a', 1: 'b'}|dictsort }}", "{{ {'a': 1, 2: 3}|dictsort }}", "{{ d|dictsort(by='value') }}", "{{ s|sort }}", "{{ s|sort|join }}", "{{ s|unique|join }}", "{{ 5|sort }}", "{{ d|sort }}", "{{ d|min }}", "{{ range(3)|sort(reverse=true) }}", "{{ people|groupby('age')|map(attribute='list')|map('map', attribute='name')|map('join', ',')|list }}", "{% for age, group in people|groupby('age') %}{{ age }}:{{ group|map(attribute='name')|join(',') }};{% endfor %}", "{% for g in mo|groupby('t') %}{{ g.grouper }}={{ g.list|length }};{% endfor %}", "{{ people|map(attribute='city')|select('defined')|map(attribute='n')|sort|list }}",
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
