//! The text of an answer without what only sets it: the commands of LaTeX around a value, its
//! currency, its unit.

/// The text without white space and what only sets it; units and percent signs at its end go, too.
pub(super) fn plain(answer: &str) -> String {
    let mut text = with_roots(answer.trim().trim_end_matches('.'));
    for (long, short) in [
        ("\\left", ""),
        ("\\right", ""),
        ("\\displaystyle", ""),
        ("\\!", ""),
        ("\\,", ""),
        ("\\;", ""),
        ("\\:", ""),
        ("\\ ", " "),
        ("~", " "),
        ("\\$", ""),
        ("$", ""),
        ("\u{20ac}", ""),
        ("\u{a3}", ""),
        ("\u{a5}", ""),
        ("\u{20b9}", ""),
        ("\\(", ""),
        ("\\)", ""),
        ("\\dfrac", "\\frac"),
        ("\\tfrac", "\\frac"),
        ("\\cdot", "*"),
        ("\\times", "*"),
        ("\\div", "/"),
        ("\u{2212}", "-"),
        ("\u{b7}", "*"),
        ("\u{d7}", "*"),
        ("\u{3c0}", "\\pi "),
        ("\u{221e}", "\\infty "),
        ("\u{b1}", "\\pm "),
        ("\\cup", "\u{222a}"),
        ("\\lbrace", "\\{"),
        ("\\rbrace", "\\}"),
        ("{,}", ","),
        ("^{\\circ}", ""),
        ("^\\circ", ""),
        ("\u{b0}", ""),
        ("\\%", ""),
        ("%", ""),
    ] {
        text = text.replace(long, short);
    }
    without_units(text.trim()).trim().to_owned()
}

/// `√12` as `\sqrt{12}`: the sign takes all of the number behind it.
fn with_roots(text: &str) -> String {
    let mut parts = text.split('\u{221a}');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(part.len());
        let (number, rest) = part.split_at(digits);
        let of_number = if number.is_empty() { [""; 3] } else { ["{", number, "}"] };
        ["\\sqrt"].into_iter().chain(of_number).chain([rest]).for_each(|part| out += part);
    }
    out
}

/// Without a unit or a word behind a number: `12 cm`, `5 \text{ apples}`, `3 m^2`.
fn without_units(text: &str) -> String {
    for name in ["\\text{", "\\mathrm{", "\\mbox{", "\\textrm{"] {
        let Some((value, word)) = text.rsplit_once(name) else { continue };
        // What is set with a power is a unit, too: \mathrm{cm}^2.
        let Some((word, rest)) = word.split_once('}') else { continue };
        if !matches!(rest, "" | "^2" | "^3" | "^{2}" | "^{3}") {
            continue;
        }
        // A word alone is the answer itself.
        if value.trim().is_empty() {
            return word.trim().to_owned();
        }
        let is_letter = || word.trim().len() == 1 && word.contains(|c: char| c.is_alphabetic());
        if (is_unit(word) || is_letter()) && is_value(value) {
            return value.trim_end().to_owned();
        }
    }
    let mut value = text;
    while let Some((before, _)) = value.rsplit_once(' ').filter(|(_, unit)| is_unit(unit)) {
        value = before.trim_end();
        if is_value(value) {
            return value.to_owned();
        }
    }
    text.to_owned()
}

/// Whether a word can be a unit: of two letters or more, or one that stands for a unit alone.
fn is_unit(word: &str) -> bool {
    const SHORT: [&str; 14] = ["m", "g", "s", "h", "l", "L", "N", "W", "J", "V", "A", "K", "C", "F"];
    const OTHERS: [&str; 4] = ["or", "and", "am", "pm"];
    let word = word.trim().trim_end_matches(['2', '3', '^']);
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    let only_letters = word.chars().all(|c| c.is_alphabetic() || matches!(c, '/' | '-' | ' '));
    let whole = only_letters && word.split(' ').all(|part| !OTHERS.contains(&part));
    whole && (letters > 1 || SHORT.contains(&word))
}

/// Whether it has a number, and no letter but those of commands.
fn is_value(text: &str) -> bool {
    let mut rest = text.to_owned();
    for command in ["\\frac", "\\sqrt", "\\pi"] {
        rest = rest.replace(command, "");
    }
    rest.contains(|c: char| c.is_ascii_digit()) && !rest.contains(|c: char| c.is_alphabetic() || c == '=')
}
