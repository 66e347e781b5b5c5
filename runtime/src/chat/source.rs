//! The text of a template, as the engine takes it.
//!
//! One pass makes of Jinja as transformers reads it what minijinja reads alike: line ends are `\n`,
//! texts in quotes have Python's escapes, `value % operand` is a filter, the operands of
//! comparisons go through one that takes their twins away (see `guard`), those of `~` through one
//! that writes them as Python does, what a loop goes over through one that refuses `none`, a macro
//! that speaks of `varargs` or `kwargs` has such parameters, a namespace is read before a field of
//! it is set, and the tags `generation`, which mark an assistant's text for training, are a scope.
//! Comments and `raw` are left alone.

use super::macros::{Head, Macro, namespace};
use super::words::{first_word, is_keyword, is_word, quoted_length, unescaped, word_length};

/// The filter that stands for the operator `%`.
pub(super) const FORMAT: &str = "__mod__";

/// The filter of a comparison's operands.
pub(super) const FOLD: &str = "__fold__";

/// The filter of the operands of `~`.
pub(super) const TEXT: &str = "__text__";

/// The filter of what a loop goes over.
pub(super) const ITERATED: &str = "__iterated__";

/// How many filters are put around one expression at most: each nests it deeper.
const MAX_WRAPPED: usize = 32;

/// A template for the engine.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) text: String,
    /// The texts in quotes of all expressions and statements, each once.
    pub(super) literals: Vec<String>,
    /// The macros that are open.
    macros: Vec<Macro>,
}

/// The part of a tag that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// What is no loop, or is behind what the loop goes over.
    Plain,
    /// The variables of a loop, whose `in` is no comparison.
    Targets,
    /// What the loop goes over, from this place on in the text that is written.
    Iterated(usize),
}

/// An expression that is being read, in brackets or a tag: where its parts begin in the text that
/// is written.
#[derive(Debug, Default)]
struct Expression {
    /// The operand of a comparison: a sum, or what binds stronger.
    operand: Option<usize>,
    /// The operand of `~` in it: a sum.
    term: Option<usize>,
    /// The product in that.
    product: Option<usize>,
    /// The token before.
    last: Last,
    /// What the operand is, if it is one text in quotes.
    literal: Option<Literal>,
    /// Whether `%` is before the operand, whose end closes the filter.
    is_operand_of_format: bool,
    /// Whether the operand is compared with one before it.
    is_compared: bool,
    /// Whether `~` is before the term.
    is_concatenated: bool,
    /// How many filters are around it.
    wrapped: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// It asks for a value.
    #[default]
    Operator,
    /// It ends a value.
    Value,
    /// A dot or `|`: the next word belongs to the value before it.
    Link,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Literal {
    /// Letters and digits alone, in which no twin can be.
    Word,
    Other,
}

impl Source {
    pub(super) fn new(template: &str) -> Self {
        let template = template.replace("\r\n", "\n").replace('\r', "\n");
        let mut source = Self { text: String::with_capacity(template.len()), ..Self::default() };
        source.data(&template);
        source.literals.sort();
        source.literals.dedup();
        source
    }

    /// Text with tags in it.
    fn data(&mut self, mut rest: &str) {
        let opens = |rest: &str, at: usize| rest.as_bytes().get(at + 1).is_some_and(|next| b"{%#".contains(next));
        while let Some((at, _)) = rest.match_indices('{').find(|&(at, _)| opens(rest, at)) {
            self.text.push_str(&rest[..at]);
            rest = &rest[at..];
            rest = match rest.as_bytes()[1] {
                b'{' => self.code(rest, "}}"),
                b'#' => self.copy(rest, rest.find("#}").map_or(rest.len(), |end| end + 2)),
                _ => self.statement(rest),
            };
        }
        self.text.push_str(rest);
    }

    fn copy<'s>(&mut self, rest: &'s str, end: usize) -> &'s str {
        self.text.push_str(&rest[..end]);
        &rest[end..]
    }

    fn statement<'s>(&mut self, tag: &'s str) -> &'s str {
        let start = tag.len() - tag[2..].trim_start_matches(['-', '+']).trim_start().len();
        let word = &tag[start..start + word_length(&tag[start..])];
        let stand_in = match word {
            "raw" => return self.raw(tag),
            "generation" => "with",
            "endgeneration" => "endwith",
            "macro" => return self.macro_head(tag, start + word.len()),
            "set" => {
                if let Some(name) = namespace(&tag[start + word.len()..]) {
                    // It is read before the statement, with the white space that this one takes.
                    let trim = &tag[2..2 + usize::from(tag[2..].starts_with(['-', '+']))];
                    self.text.extend(["{%", trim, " if ", name, " %}{% endif %}"]);
                }
                return self.code(tag, "%}");
            }
            "endmacro" => return self.macro_end(tag),
            "call" => return self.call_head(tag, start + word.len()),
            _ => return self.code(tag, "%}"),
        };
        self.text.push_str(&tag[..start]);
        self.text.push_str(stand_in);
        self.code_from(tag, start + word.len(), "%}")
    }

    /// The beginning of a macro.
    fn macro_head<'s>(&mut self, tag: &'s str, start: usize) -> &'s str {
        let begin = self.text.len();
        let rest = self.code(tag, "%}");
        let head = Head::new(&self.text.split_off(begin));
        self.text.push_str(&head.text);
        self.macros.push(Macro::new(&tag[start..], head, begin));
        rest
    }

    /// The beginning of a call, whose body is a macro where parameters follow the word.
    fn call_head<'s>(&mut self, tag: &'s str, start: usize) -> &'s str {
        let begin = self.text.len();
        let rest = self.code(tag, "%}");
        if tag[start..].trim_start().starts_with('(') {
            let head = Head::new(&self.text.split_off(begin));
            self.text.push_str(&head.text);
        }
        rest
    }

    /// The end of a macro. One that speaks of further arguments gets a parameter for each kind, and
    /// is replaced by a function that fills them.
    fn macro_end<'s>(&mut self, tag: &'s str) -> &'s str {
        let rest = self.code(tag, "%}");
        let Some(ended) = self.macros.pop().filter(Macro::is_variadic) else { return rest };
        self.text.insert_str(ended.close(), &ended.further_parameters());
        let trim = self.text.strip_suffix("%}").and_then(|tag| tag.chars().next_back()).filter(|c| "-+".contains(*c));
        let trim = trim.map(String::from).unwrap_or_default();
        self.text.extend(["{% set ", &ended.filled(), " ", &trim, "%}"]);
        rest
    }

    /// `{% raw %}` up to `{% endraw %}`. The line break behind the first is kept, as in Jinja.
    fn raw<'s>(&mut self, tag: &'s str) -> &'s str {
        let Some(begin) = tag.find("%}").map(|at| at + 2) else { return self.copy(tag, tag.len()) };
        let ends = |at: usize| {
            let word = tag[at + 2..].trim_start_matches(['-', '+']).trim_start();
            word.starts_with("endraw") && word_length(word) == "endraw".len()
        };
        let end = tag.match_indices("{%").map(|(at, _)| at).find(|&at| at >= begin && ends(at));
        self.text.push_str(&tag[..begin]);
        if tag[begin..].starts_with('\n') && !tag[..begin].ends_with("-%}") {
            self.text.push('\n');
        }
        let Some(end) = end else { return self.copy(&tag[begin..], tag.len() - begin) };
        self.text.push_str(&tag[begin..end]);
        self.code(&tag[end..], "%}")
    }

    /// A whole tag; gives what follows it.
    fn code<'s>(&mut self, tag: &'s str, close: &str) -> &'s str {
        let start = 2 + usize::from(tag[2..].starts_with(['-', '+']));
        self.text.push_str(&tag[..start]);
        self.code_from(tag, start, close)
    }

    /// A tag from a place on, up to `close` outside of brackets and texts; gives what follows it.
    fn code_from<'s>(&mut self, tag: &'s str, start: usize, close: &str) -> &'s str {
        let mut rest = &tag[start..];
        let mut part = if close == "%}" && first_word(rest) == "for" { Part::Targets } else { Part::Plain };
        let mut levels = vec![Expression::default()];
        while let Some(c) = rest.chars().next() {
            if levels.len() == 1 && rest.strip_prefix(['-', '+']).unwrap_or(rest).starts_with(close) {
                self.end_operand(&mut levels[0], false);
                self.end_iterated(&mut part);
                let end = close.len() + usize::from(!rest.starts_with(close));
                return self.copy(rest, end);
            }
            let is_outer = levels.len() == 1;
            let Some(level) = levels.last_mut() else { break };
            rest = match c {
                c if c.is_whitespace() => self.copy(rest, c.len_utf8()),
                '\'' | '"' => {
                    let joins = level.literal.is_some();
                    self.begin_value(level, joins);
                    self.literal(rest, level)
                }
                '(' | '[' | '{' => {
                    // Behind a value it is a call or a subscript.
                    let behind = level.last != Last::Operator;
                    self.begin_value(level, behind);
                    levels.push(Expression::default());
                    self.copy(rest, 1)
                }
                ')' | ']' | '}' => {
                    self.end_operand(level, false);
                    if levels.len() > 1 {
                        levels.pop();
                    }
                    if let Some(outer) = levels.last_mut() {
                        outer.last = Last::Value;
                    }
                    self.copy(rest, 1)
                }
                c if is_word(c) => {
                    let word = &rest[..word_length(rest)];
                    if level.last == Last::Link || !is_keyword(word) {
                        let goes_on = level.last == Last::Link;
                        self.begin_value(level, goes_on);
                        level.literal = None;
                        if let Some(open) = self.macros.last_mut().filter(|_| !goes_on) {
                            open.mention(word);
                        }
                        self.copy(rest, word.len())
                    } else {
                        if is_outer && matches!(word, "if" | "recursive") {
                            self.end_operand(level, false);
                            self.end_iterated(&mut part);
                        }
                        self.keyword(rest, word, level, &mut part)
                    }
                }
                _ => self.operator(rest, level),
            };
        }
        rest
    }

    /// A value begins, or goes on.
    fn begin_value(&mut self, level: &mut Expression, goes_on: bool) {
        if level.last != Last::Operator && !goes_on {
            // Two values, as behind the word of a statement: the first one has ended.
            self.end_operand(level, false);
        }
        if level.operand.is_some() {
            level.literal = None;
        }
        level.operand.get_or_insert(self.text.len());
        level.term.get_or_insert(self.text.len());
        level.product.get_or_insert(self.text.len());
        level.last = Last::Value;
    }

    /// A text in quotes.
    fn literal<'s>(&mut self, quoted: &'s str, level: &mut Expression) -> &'s str {
        let Some(length) = quoted_length(quoted) else { return self.copy(quoted, quoted.len()) };
        let value = unescaped(&quoted[1..length - 1]);
        let quote = &quoted[..1];
        if level.operand == Some(self.text.len()) {
            level.literal = Some(kind_of(&value));
        }
        self.text.push_str(quote);
        self.text.push_str(&value.replace('\\', "\\\\").replace(quote, &format!("\\{quote}")));
        self.text.push_str(quote);
        self.literals.push(value);
        &quoted[length..]
    }

    /// A word that is an operator.
    fn keyword<'s>(&mut self, rest: &'s str, word: &str, level: &mut Expression, part: &mut Part) -> &'s str {
        let behind = rest[word.len()..].trim_start();
        let length = match word {
            "in" if *part == Part::Targets => {
                self.end_operand(level, false);
                level.last = Last::Operator;
                let length = rest.len() - behind.len();
                *part = Part::Iterated(self.text.len() + length);
                return self.copy(rest, length);
            }
            "in" if level.last != Last::Operator => return self.comparison(rest, word.len(), level),
            "not" if level.last != Last::Operator && first_word(behind) == "in" => {
                return self.comparison(rest, rest.len() - behind.len() + "in".len(), level);
            }
            // The name of a test.
            "in" => {
                self.begin_value(level, false);
                return self.copy(rest, word.len());
            }
            _ => {
                // A test binds stronger than `~`.
                level.is_concatenated &= word != "is";
                self.end_operand(level, false);
                word.len()
            }
        };
        level.last = Last::Operator;
        self.copy(rest, length)
    }

    /// What a loop goes over has ended.
    fn end_iterated(&mut self, part: &mut Part) {
        if let Part::Iterated(start) = std::mem::replace(part, Part::Plain) {
            let end = self.text.trim_end().len();
            if end > start {
                let space = self.text.split_off(end);
                self.text.insert(start, '(');
                self.text.extend([")|", ITERATED, &space]);
            }
        }
    }

    fn operator<'s>(&mut self, rest: &'s str, level: &mut Expression) -> &'s str {
        let two = rest.get(..2).unwrap_or_default();
        match two {
            "==" | "!=" | "<=" | ">=" => return self.comparison(rest, 2, level),
            "**" => {
                level.last = Last::Operator;
                return self.copy(rest, 2);
            }
            _ => {}
        }
        let Some(c) = rest.chars().next() else { return rest };
        match c {
            '<' | '>' => return self.comparison(rest, 1, level),
            '.' | '|' => {
                level.last = Last::Link;
                level.literal = None;
            }
            '%' if level.last != Last::Operator && asks_for_value(&rest[1..]) => return self.format(rest, level),
            '*' | '/' | '%' => {
                self.end_factor(level);
                (level.last, level.literal) = (Last::Operator, None);
            }
            // A sign that changes nothing.
            '+' if level.last == Last::Operator => return &rest[1..],
            '-' if level.last == Last::Operator => {
                level.operand.get_or_insert(self.text.len());
                level.term.get_or_insert(self.text.len());
                level.product.get_or_insert(self.text.len());
            }
            '~' => {
                self.end_factor(level);
                level.is_concatenated = true;
                self.end_term(level);
                (level.term, level.product, level.last, level.literal) = (None, None, Last::Operator, None);
            }
            '-' | '+' => {
                self.end_factor(level);
                (level.product, level.last, level.literal) = (None, Last::Operator, None);
            }
            _ => {
                self.end_operand(level, false);
                level.last = Last::Operator;
            }
        }
        self.copy(rest, c.len_utf8())
    }

    /// `value % operand`: the value so far becomes that of a filter, whose argument follows.
    fn format<'s>(&mut self, rest: &'s str, level: &mut Expression) -> &'s str {
        self.end_factor(level);
        (level.last, level.literal) = (Last::Operator, None);
        let Some(start) = level.product.filter(|_| level.wrapped < MAX_WRAPPED) else { return self.copy(rest, 1) };
        self.wrap(start, FORMAT, level);
        self.text.push('(');
        level.is_operand_of_format = true;
        &rest[1..]
    }

    /// The operand of `%` has ended.
    fn end_factor(&mut self, level: &mut Expression) {
        if std::mem::take(&mut level.is_operand_of_format) {
            self.text.insert(self.text.trim_end().len(), ')');
        }
    }

    /// The operand of `~` has ended, or what could have been one. A text in quotes is one already.
    fn end_term(&mut self, level: &mut Expression) {
        let Some(start) = level.term.filter(|_| level.is_concatenated && level.wrapped < MAX_WRAPPED) else { return };
        let term = self.text[start..].trim_end();
        if !(term.starts_with(['\'', '"']) && quoted_length(term) == Some(term.len())) {
            let space = self.text.split_off(start + term.len());
            self.wrap(start, TEXT, level);
            self.text.push_str(&space);
        }
    }

    /// An operator of so many bytes that compares. What twins cannot change is left alone.
    fn comparison<'s>(&mut self, rest: &'s str, length: usize, level: &mut Expression) -> &'s str {
        let (operator, behind) = rest.split_at(length);
        let before = level.literal == Some(Literal::Word);
        let plain = match operator {
            "==" | "!=" => before || literal_behind(behind) == Some(Literal::Word),
            "<" | ">" | "<=" | ">=" => false,
            _ => before,
        };
        self.end_operand(level, !plain);
        (level.is_compared, level.last) = (!plain, Last::Operator);
        self.copy(rest, length)
    }

    /// The operand of a comparison has ended, or what could have been one.
    fn end_operand(&mut self, level: &mut Expression, is_compared: bool) {
        self.end_factor(level);
        self.end_term(level);
        let is_compared = std::mem::take(&mut level.is_compared) || is_compared;
        match level.operand {
            Some(start) if is_compared && level.literal.is_none() && level.wrapped < MAX_WRAPPED => {
                let end = self.text.trim_end().len();
                let space = self.text.split_off(end);
                self.wrap(start, FOLD, level);
                self.text.push_str(&space);
            }
            _ => {}
        }
        let wrapped = level.wrapped;
        *level = Expression { last: level.last, ..Expression::default() };
        level.wrapped = if is_compared { wrapped } else { 0 };
    }

    /// Puts a filter behind what was written from `start` on.
    fn wrap(&mut self, start: usize, filter: &str, level: &mut Expression) {
        level.wrapped += 1;
        self.text.truncate(self.text.trim_end().len());
        self.text.insert(start, '(');
        self.text.extend([")|", filter]);
    }
}

/// Whether a value may follow, and not the end of a bracket or a tag.
fn asks_for_value(text: &str) -> bool {
    let next = text.trim_start();
    !text.starts_with('}') && next.starts_with(|c| is_word(c) || "'\"([{-+".contains(c))
}

fn kind_of(literal: &str) -> Literal {
    if !literal.is_empty() && literal.chars().all(is_word) { Literal::Word } else { Literal::Other }
}

/// The text in quotes that is all of the operand that follows.
fn literal_behind(text: &str) -> Option<Literal> {
    let text = text.trim_start();
    let length = text.starts_with(['\'', '"']).then(|| quoted_length(text))??;
    let goes_on = text[length..].trim_start().starts_with(['~', '+', '|', '.', '[', '%', '*', '\'', '"']);
    (!goes_on).then(|| kind_of(&text[1..length - 1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(template: &str) -> String {
        Source::new(template).text
    }

    #[test]
    fn generation_tags_become_scopes() {
        let source = "{% if m %}{%- generation -%} a {%endgeneration%}{% generation_x %}{{ '{% generation %}' }}";
        let without = "{% if m %}{%- with -%} a {%endwith%}{% generation_x %}{{ '{% generation %}' }}";
        assert_eq!(prepared(source), without);
        assert_eq!(prepared("é {% generation"), "é {% with");
        for left_alone in ["{# {% generation %} #}", "{% raw %}{% generation %}{% endraw %}", "{% raw %}{{ '"] {
            assert_eq!(prepared(left_alone), left_alone);
        }
    }

    #[test]
    fn texts_have_the_escapes_of_python() {
        assert_eq!(prepared(r"{{ 'a\/\x41\u00e9\101\d\'' }}"), r"{{ 'a\\/AéA\\d\'' }}");
        assert_eq!(prepared("{{ 'a\\\nb\\n' }}"), "{{ 'ab\n' }}");
        assert_eq!(prepared("a\r\n\r{{ 'b\r\n' }}"), "a\n\n{{ 'b\n' }}");
    }

    #[test]
    fn a_percent_sign_is_a_filter() {
        for (source, expected) in [
            ("{{ '%s' % a.b(c)|d ~ 'x' }}", "{{ (('%s')|__mod__( a.b(c)|d))|__text__ ~ 'x' }}"),
            ("{% set x = '%s' % ('a', \"%d\" % 1) %}", "{% set x = ('%s')|__mod__( ('a', (\"%d\")|__mod__( 1))) %}"),
            ("{%- if f % 2 -%}", "{%- if (f)|__mod__( 2) -%}"),
            ("{{- 2 * -a[1] % 3 ** 2 + 1 % b}}", "{{- (2 * -a[1])|__mod__( 3 ** 2) + (1)|__mod__( b)}}"),
            ("{{ ('%s' ~ '-%s') % ('a', 'b') }}", "{{ (('%s' ~ '-%s'))|__mod__( ('a', 'b')) }}"),
            ("{{ a % b % c }}", "{{ ((a)|__mod__( b))|__mod__( c) }}"),
            ("{% if 'x'%}{{ 'a%b' }}", "{% if 'x'%}{{ 'a%b' }}"),
            ("{{ 'a' % }}", "{{ 'a' % }}"),
        ] {
            assert_eq!(prepared(source), expected);
        }
    }

    #[test]
    fn operands_of_comparisons_lose_their_twins() {
        for (source, expected) in [
            ("{% if '</a>' in m.content %}", "{% if '</a>' in (m.content)|__fold__ %}"),
            ("{{ x[0] == '[' and y }}", "{{ (x[0])|__fold__ == '[' and y }}"),
            (
                "{{ a ~ b|d not in [c, 'x'] }}",
                "{{ ((a)|__text__ ~ (b|d)|__text__)|__fold__ not in ([c, 'x'])|__fold__ }}",
            ),
            (
                "{{ f(a < b, k=c) if d > -1 else e }}",
                "{{ f((a)|__fold__ < (b)|__fold__, k=c) if (d)|__fold__ > (-1)|__fold__ else e }}",
            ),
            ("{% for m in l if m.x != m.y -%}", "{% for m in (l)|__iterated__ if (m.x)|__fold__ != (m.y)|__fold__ -%}"),
            ("{{ a < b < c }}", "{{ (a)|__fold__ < (b)|__fold__ < (c)|__fold__ }}"),
            ("{{ a % b == '-' }}", "{{ ((a)|__mod__( b))|__fold__ == '-' }}"),
            ("{{ m['role'] == 'user' }}", "{{ m['role'] == 'user' }}"),
            ("{{ 'tool_calls' in m and m.x is not none }}", "{{ 'tool_calls' in m and m.x is not none }}"),
            ("{{ x is in y }}{% set a = b %}", "{{ x is in y }}{% set a = b %}"),
        ] {
            assert_eq!(prepared(source), expected);
        }
    }

    #[test]
    fn operands_of_concatenations_are_texts() {
        for (source, expected) in [
            ("{{ 'a' ~ b + 1 ~ \"c\" }}", "{{ 'a' ~ (b + 1)|__text__ ~ \"c\" }}"),
            (
                "{{ f(a ~ b, c) ~ -d if e else g }}",
                "{{ (f((a)|__text__ ~ (b)|__text__, c))|__text__ ~ (-d)|__text__ if e else g }}",
            ),
            ("{{ a ~ b is string }}", "{{ (a)|__text__ ~ b is string }}"),
        ] {
            assert_eq!(prepared(source), expected);
        }
    }

    #[test]
    fn loops_refuse_none() {
        for (source, expected) in [
            ("{%- for a, b in x.y -%}", "{%- for a, b in (x.y)|__iterated__ -%}"),
            ("{% for a in b['c'] recursive %}", "{% for a in (b['c'])|__iterated__ recursive %}"),
            ("{% for a in 1, 2 %}", "{% for a in (1, 2)|__iterated__ %}"),
            ("{% for a in (b if c else d) %}", "{% for a in ((b if c else d))|__iterated__ %}"),
            ("{% for a in %}{{ b in c }}{{ + d }}", "{% for a in %}{{ (b)|__fold__ in (c)|__fold__ }}{{  d }}"),
        ] {
            assert_eq!(prepared(source), expected);
        }
    }

    #[test]
    fn macros_have_parameters_for_further_arguments() {
        for (source, expected) in [
            (
                "{% macro f(a, b='),') -%}{{ varargs }}{%- endmacro -%} x",
                "{% macro f(a, b='),', varargs=()) -%}{{ varargs }}{%- endmacro -%}\
                {% set f = __variadic__(f, 'a', 'b', varargs=true) -%} x",
            ),
            (
                "{% macro f() %}{{ kwargs.x }}{% endmacro %}",
                "{% macro f(kwargs={}) %}{{ kwargs.x }}{% endmacro %}{% set f = __variadic__(f, kwargs=true) %}",
            ),
            ("{% macro f(kwargs) %}{{ kwargs }}{% endmacro %}", "{% macro f(kwargs) %}{{ kwargs }}{% endmacro %}"),
            ("{% macro f() %}{{ a.kwargs }}{% endmacro %}", "{% macro f() %}{{ a.kwargs }}{% endmacro %}"),
            ("{{ varargs }}{% endmacro %}", "{{ varargs }}{% endmacro %}"),
        ] {
            assert_eq!(prepared(source), expected);
        }
    }

    #[test]
    fn literals_are_found_in_code_alone() {
        let source = r#"'no' {{ 'a' + "b\n" }} isn't {% if '</think>' in x %}{{ "it's }}" }} {{ 'a' }}{{ 'open"#;
        assert_eq!(Source::new(source).literals, ["</think>", "a", "b\n", "it's }}"]);
        assert_eq!(Source::new("{% it is").literals, [""; 0]);
    }
}
