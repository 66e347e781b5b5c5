//! The text of a template: what the engine does not know is taken out, and what it searches for is
//! found.

/// The template without the tags `generation` and `endgeneration`, which mark an assistant's text
/// for training and mean nothing here. Conditions that always hold stand in for them, so that white
/// space is trimmed as around the tags.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let word = tag[2..end].trim_start_matches(['-', '+']).trim_start();
        let word = word.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        match word {
            "generation" => out.push_str(&tag[..end].replace(word, "if true")),
            "endgeneration" => out.push_str(&tag[..end].replace(word, "endif")),
            _ => out.push_str(&tag[..end]),
        }
        rest = &tag[end..];
    }
    out + rest
}

/// The texts in quotes of all expressions and statements, each once.
pub(super) fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let close = if rest[at..].starts_with("{{") { "}}" } else { "%}" };
        rest = in_code(&rest[at + 2..], close, &mut found);
    }
    found.sort();
    found.dedup();
    found
}

/// Takes the texts of one expression or statement; gives what follows it.
fn in_code<'s>(mut rest: &'s str, close: &str, found: &mut Vec<String>) -> &'s str {
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix(close) {
            return after;
        }
        rest = &rest[c.len_utf8()..];
        if matches!(c, '"' | '\'') {
            rest = literal(rest, c, found);
        }
    }
    rest
}

/// Takes a text up to its closing quote; gives what follows it.
fn literal<'s>(text: &'s str, quote: char, found: &mut Vec<String>) -> &'s str {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => {
                found.push(value);
                return &text[at + c.len_utf8()..];
            }
            '\\' => value.extend(chars.next().map(|(_, c)| match c {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                c => c,
            })),
            c => value.push(c),
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_go() {
        let source = "{% for m in x %}{%- generation -%} a {%endgeneration%}{% generation_x %}{{ '{% x' }}";
        let without = "{% for m in x %}{%- if true -%} a {%endif%}{% generation_x %}{{ '{% x' }}";
        assert_eq!(without_generation_tags(source), without);
        assert_eq!(without_generation_tags("é {% generation"), "é {% if true");
    }

    #[test]
    fn literals_are_found_in_code_alone() {
        let source = r#"'no' {{ 'a' + "b\n" }} isn't {% if '</think>' in x %}{{ "it's }}" }} {{ 'a' }}{{ 'open"#;
        assert_eq!(literals(source), ["</think>", "a", "b\n", "it's }}"]);
        assert_eq!(literals("{% it is"), [""; 0]);
    }
}
