//! Templates and what the original Jinja makes of them.

use super::check;

#[test]
fn expressions() {
    check(
        "{{ 1 + 2 * 3 - 4 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 5 }} {{ -n }} {{ f * 2 }}",
        "3 3 -4 1 2 3.5 32 -7 5.0",
    );
    check(
        "{{ 1 ~ 'a' ~ none ~ true ~ 1.5 }} {{ 'a' + 'b' }} {{ 'ab' * 3 }} {{ 'a' 'b' }}",
        "1aNoneTrue1.5 ab ababab ab",
    );
    check(
        "{{ 1 < 2 }} {{ 'a' >= 'b' }} {{ 1 == 1.0 }} {{ true == 1 }} {{ none == false }} {{ [1, 'x'] == [1, 'x'] }} {{ {'a': 1} != {'a': 2} }}",
        "True False True True False True True",
    );
    check(
        "{{ 'or' in name }} {{ 'Wor' not in name }} {{ 'b' in words }} {{ 'one' in map }} {{ 5 in [1, 2] }}",
        "True False True True False",
    );
    check("{{ not yes }} {{ yes and n }} {{ nothing or 'x' }} {{ '' and 'x' }}", "False 7 x ");
    check(
        "{{ 'a' if yes else 'b' }} {{ 'a' if not yes }}|{{ 'x' if nothing else 'y' if n == 7 else 'z' }}",
        "a |y",
    );
    check(
        "{{ words[0] }} {{ words[-1] }} {{ words[9] }} {{ map['two'] }} {{ map.one }} {{ name[1] }} {{ messages[0].role }}",
        "b c  2 1 o user",
    );
    check(
        "{{ words[1:] }} {{ words[:-1] }} {{ words[::-1] }} {{ name[1:3] }} {{ name[::-1] }} {{ name[-3:] }} {{ name[5:1:-2] }} {{ words[5:] }}",
        "['A', 'c'] ['b', 'A'] ['c', 'A', 'b'] or dlroW rld dr []",
    );
    check(
        "{{ [1, 'two', 3.0, none, true] }} {{ {'a': [1], 'b': 'it\\'s'} }} {{ ['q\"', 'n\\n'] }} {{ () }}",
        "[1, 'two', 3.0, None, True] {'a': [1], 'b': \"it's\"} ['q\"', 'n\\n'] []",
    );
    check("{{ '\\u00e4\\x41\\n\\t\\\\' }}", "äA\n\t\\");
    check("{{ (1, 2)[1] }} {{ {'k': {'z': 3}}.k.z }} {{ 'x|y'.split('|')[1] | upper }}", "2 3 Y");
    check(
        "{{ 'a' ~ 1 + '2' }} {{ not 1 == 2 }} {{ n is odd and n > 3 }} {{ -5 | abs }} {{ 3 - -2 }}",
        "a12 True True 5 5",
    );
}

#[test]
fn statements() {
    check("{% if n > 8 %}a{% elif n > 6 %}b{% else %}c{% endif %}", "b");
    check("{% for w in words %}{{ loop.index }}{{ w }}{{ ',' if not loop.last }}{% endfor %}", "1b,2A,3c");
    check(
        "{% for w in words %}{{ loop.index0 }}{{ loop.first }}{{ loop.revindex }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
        "0True33A;1False23bc;2False13A;",
    );
    check("{% for w in words if w != 'A' %}{{ loop.index }}{{ w }}{% endfor %}", "1b2c");
    check(
        "{% for k, v in map.items() %}{{ k }}={{ v }};{% endfor %}{% for k in map %}{{ k }}{% endfor %}",
        "one=1;two=2;onetwo",
    );
    check(
        "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
        "0134",
    );
    check("{% for i in [] %}x{% else %}empty{% endfor %}", "empty");
    check("{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}", "231");
    check(
        "{% set ns = namespace(found=false, n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% set ns.found = true %}{% endfor %}{{ ns.n }}{{ ns.found }}",
        "3True",
    );
    check("{% set a, b = 1, 'x' %}{{ b }}{{ a }}{% set t = 1, 2 %}{{ t[1] }}", "x12");
    check("{% set x %}  in {{ name }} {% endset %}[{{ x }}]{{ x | length }}", "[  in World ]11");
    check(
        "{% macro greet(who, mark='!') %}Hi {{ who }}{{ mark }}{% endmacro %}{{ greet('A') }} {{ greet('B', '?') }} {{ greet(mark='.', who='C') }}{{ greet(name) | length }}",
        "Hi A! Hi B? Hi C.9",
    );
    check(
        "{% macro fact(x) %}{% if x > 1 %}{{ x * (fact(x - 1) | int) }}{% else %}1{% endif %}{% endmacro %}{{ fact(10) }}",
        "3628800",
    );
    check("{% if true %}{% set y = 5 %}{% endif %}{{ y }}", "5");
    check(
        "{{ range(3) | list }}{{ range(1, 8, 3) | list }}{{ range(3, 0, -1) | list }}",
        "[0, 1, 2][1, 4, 7][3, 2, 1]",
    );
    check(
        "{% for a in [1, 2] %}{% for b in [1, 2] %}{{ a }}{{ b }}{% if b == 1 %}{% break %}{% endif %}{% endfor %}{% endfor %}",
        "1121",
    );
    check("{% raw %}{{ x }} {% y %}{% endraw %}{# comment #}z", "{{ x }} {% y %}z");
}

#[test]
fn whitespace() {
    check("a\n{% if true %}\nb\n{% endif %}\nc\n", "a\nb\nc");
    check("a\n   {% if true %}   \n  b {% endif %}\nc", "a\n   \n  b c");
    check("a  {%- if true -%}  b  {%- endif -%}  c", "abc");
    check("a  {{- name -}}  c {{ name }}\n\nd\n\n", "aWorldc World\n\nd\n");
    check("x {% if true +%}\n y{% endif %}", "x \n y");
    check("  {%+ if true %}y{% endif %}", "  y");
    check("a\n  {# comment #}\nb {#- c -#} d", "a\nbd");
    check("{% for w in words %}\n    - {{ w }}\n{% endfor %}\nend", "    - b\n    - A\n    - c\nend");
    check(
        "{%- for m in messages %}\n    {%- if loop.first %}\n        {{- m.role }}\n    {%- endif %}\n    {{- '\\n' + m.content | trim + '\\n' }}\n{%- endfor %}",
        "user\nhi\n\nho\n",
    );
    check("  {% set x = 1 %}  {{ x }}", "  1");
    check("{{ {'a': {'b': 1}} }}", "{'a': {'b': 1}}");
    check("a\r\n{% if true %}\r\nb{% endif %}", "a\nb");
}

#[test]
fn filters() {
    check(
        "{{ '  x ' | trim }}|{{ name | upper | lower }}|{{ 'hello wORLD' | title }}|{{ 'hELLO' | capitalize }}",
        "x|world|Hello World|Hello",
    );
    check(
        "{{ words | join(', ') }} {{ words | join }} {{ [1, none, 'x'] | join('-') }} {{ messages | join('/', attribute='role') }}",
        "b, A, c bAc 1-None-x user/assistant",
    );
    check(
        "{{ words | length }} {{ name | length }} {{ map | length }} {{ words | first }} {{ words | last }} {{ name | list }} {{ map | list }}",
        "3 5 2 b c ['W', 'o', 'r', 'l', 'd'] ['one', 'two']",
    );
    check(
        "{{ words | sort }} {{ words | sort(reverse=true) }} {{ words | reverse | list }} {{ [3, 1, 2] | max }} {{ [3, 1, 2] | min }} {{ [1, 2] | sum }} {{ [1, 2, 1] | unique | list }}",
        "['A', 'b', 'c'] ['c', 'b', 'A'] ['c', 'A', 'b'] 3 1 3 [1, 2]",
    );
    check(
        "{{ messages | map(attribute='role') | list }} {{ words | map('upper') | join }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
        "['user', 'assistant'] BAC 1",
    );
    check(
        "{{ messages | rejectattr('role', 'eq', 'user') | map(attribute='content') | first }} {{ [1, 2, 3, 0] | select | list }} {{ [1, 2, 3] | select('odd') | list }} {{ [1, 2, 3] | reject('gt', 1) | list }}",
        "ho [1, 2, 3] [1, 3] [1]",
    );
    check(
        "{{ messages | tojson }} {{ 'ä\"\\n' | tojson }} {{ [1.5, none, true] | tojson }}",
        "[{\"role\": \"user\", \"content\": \" hi \"}, {\"role\": \"assistant\", \"content\": \"ho\"}] \"ä\\\"\\n\" [1.5, null, true]",
    );
    check(
        "{{ {'b': [1, {}], 'a': []} | tojson(indent=2) }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}",
        "{\n  \"b\": [\n    1,\n    {}\n  ],\n  \"a\": []\n} {\"a\": 2, \"b\": 1}",
    );
    check(
        "{{ 'a-b-a' | replace('a', 'x') }} {{ 'a-b-a' | replace('a', 'x', 1) }} {{ '3' | int + 1 }} {{ 'x' | int }} {{ '2.7' | int }} {{ '1.5' | float }} {{ 2.6 | round }} {{ 2.345 | round(1) }}",
        "x-b-x x-b-a 4 0 2 1.5 3.0 2.3",
    );
    check("{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb' | indent(2, true) }}", "a\n    b\n\n    c|  a\n  b");
    check(
        "{{ map | items | map('first') | join }} {{ map | dictsort | map('last') | list }} {{ 5 | string + 'x' }} {{ '<a>' | safe }} {{ words | map('length') | sum }}",
        "onetwo [1, 2] 5x <a> 3",
    );
    check("{{ 'x' | default('y') }} {{ missing | d('y') }}", "x y");
}

#[test]
fn test_words() {
    check(
        "{{ n is number }} {{ name is string }} {{ map is mapping }} {{ words is sequence }} {{ words is iterable }} {{ nothing is none }} {{ yes is boolean }} {{ yes is true }} {{ n is integer }} {{ f is float }}",
        "True True True True True True True True True True",
    );
    check(
        "{{ name is mapping }} {{ map is string }} {{ n is not none }} {{ n is divisibleby(7) }} {{ n is even }} {{ n is eq 7 }} {{ 'b' is in words }} {{ n is sameas 7 }} {{ name is iterable and name is not mapping }}",
        "False False True True False True True True True",
    );
    check(
        "{{ messages[0].role == 'user' and messages[0].content is string }} {{ 1 is defined }}",
        "True True",
    );
}

#[test]
fn methods() {
    check(
        "{{ ' x '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'xa'.lstrip('x') }}|{{ 'ax\\n'.rstrip() }}|{{ 'a'.upper() }}|{{ 'hi there'.title() }}",
        "x|a|a|ax|A|Hi There",
    );
    check(
        "{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ 'a</think>b'.split('</think>')[-1] }} {{ 'a\\nb'.splitlines() }}",
        "['a', 'b', '', 'c'] ['a', 'b'] ['a', 'b,c'] ['a,b', 'c'] b ['a', 'b']",
    );
    check(
        "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'bc')) }} {{ 'abc'.find('c') }} {{ 'abc'.find('z') }} {{ 'aXa'.replace('a', 'b') }} {{ 'abab'.count('ab') }} {{ '-'.join(words) }} {{ 'ab'.removeprefix('a') }}",
        "True True 2 -1 bXb 2 b-A-c b",
    );
    check(
        "{{ map.get('one') }} {{ map.get('x') }} {{ map.get('x', 5) }} {{ map.keys() | list }} {{ map.values() | list }} {{ map.items() | map('last') | list }}",
        "1 None 5 ['one', 'two'] [1, 2] [1, 2]",
    );
    check(
        "{{ 'abc'.isdigit() }} {{ '12'.isdigit() }} {{ 'ab'.isalpha() }} {{ 'hELLO'.capitalize() }} {{ words.index('c') }} {{ words.count('b') }}",
        "False True True Hello 2 1",
    );
}
