//! The text of an answer without what only sets it: LaTeX is read command by command, each as one
//! table says, so that what looks alike in print is one text. Then what stands around a value: its
//! currency, its unit, the name before it.

/// Commands that only set what follows, or say nothing of the value.
const DROPPED: &[&str] = &[
    "left",
    "right",
    "middle",
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "biggl",
    "biggr",
    "Biggl",
    "Biggr",
    "displaystyle",
    "textstyle",
    "scriptstyle",
    "limits",
    "nolimits",
    "!",
    "$",
    "(",
    ")",
    "[",
    "]",
    "%",
    "textdollar",
    "pounds",
    "euro",
    "degree",
    "textdegree",
    "circ",
    "unicode",
    "null",
    "bf",
    "rm",
    "it",
    "strut",
];

/// Commands that are a space.
const SPACES: &[&str] = &[",", ";", ":", ">", " ", "\n", "quad", "qquad", "enspace", "thinspace", "medspace", "space"];

/// Commands that set a group in a font.
const FONTS: &[&str] = &[
    "text",
    "textrm",
    "textbf",
    "textit",
    "textsf",
    "texttt",
    "textnormal",
    "emph",
    "underline",
    "mbox",
    "hbox",
    "mathrm",
    "mathbf",
    "mathit",
    "mathsf",
    "mathtt",
    "mathnormal",
    "operatorname",
    "boldsymbol",
    "bm",
    "boxed",
    "fbox",
    "ensuremath",
];

/// Commands whose first group says nothing of the value: a length, a color.
const WITH_ARGUMENT: &[&str] = &["hspace", "vspace", "color", "textcolor", "phantom", "label", "tag"];

/// One spelling of each.
const SYNONYMS: &[(&str, &str)] = &[
    ("dfrac", "\\frac"),
    ("tfrac", "\\frac"),
    ("cfrac", "\\frac"),
    ("nicefrac", "\\frac"),
    ("sfrac", "\\frac"),
    ("cdot", "*"),
    ("times", "*"),
    ("ast", "*"),
    ("div", "/"),
    ("cup", "\u{222a}"),
    ("bigcup", "\u{222a}"),
    ("in", "\u{2208}"),
    ("infin", "\\infty"),
    ("emptyset", "\u{2205}"),
    ("varnothing", "\u{2205}"),
    ("lbrace", "\\{"),
    ("rbrace", "\\}"),
    ("lbrack", "["),
    ("rbrack", "]"),
    ("lvert", "|"),
    ("rvert", "|"),
    ("vert", "|"),
    ("le", "\u{2264}"),
    ("leq", "\u{2264}"),
    ("leqslant", "\u{2264}"),
    ("ge", "\u{2265}"),
    ("geq", "\u{2265}"),
    ("geqslant", "\u{2265}"),
    ("lt", "<"),
    ("gt", ">"),
    ("ne", "\\neq"),
    ("approx", "\u{2248}"),
    ("simeq", "\u{2248}"),
    ("equiv", "="),
    ("colon", ":"),
    ("ldots", "\u{2026}"),
    ("dots", "\u{2026}"),
    ("cdots", "\u{2026}"),
    ("dotsc", "\u{2026}"),
    ("bar", "\\overline"),
    ("land", " and "),
    ("lor", " or "),
];

/// Characters as LaTeX or ASCII has them.
const CHARACTERS: &[(char, &str)] = &[
    ('$', ""),
    ('%', ""),
    ('~', " "),
    ('\u{20ac}', ""),
    ('\u{a3}', ""),
    ('\u{a5}', ""),
    ('\u{20b9}', ""),
    ('\u{b0}', ""),
    ('\u{2212}', "-"),
    ('\u{2010}', "-"),
    ('\u{2011}', "-"),
    ('\u{2013}', "-"),
    ('\u{fe63}', "-"),
    ('\u{ff0d}', "-"),
    ('\u{b7}', "*"),
    ('\u{22c5}', "*"),
    ('\u{d7}', "*"),
    ('\u{f7}', "/"),
    ('\u{2044}', "/"),
    ('\u{3c0}', "\\pi "),
    ('\u{221e}', "\\infty "),
    ('\u{b1}', "\\pm "),
    ('\u{bd}', "\\frac{1}{2}"),
    ('\u{bc}', "\\frac{1}{4}"),
    ('\u{be}', "\\frac{3}{4}"),
    ('\u{2153}', "\\frac{1}{3}"),
    ('\u{2154}', "\\frac{2}{3}"),
    ('\u{221a}', "\\sqrt"),
    ('\u{221b}', "\\sqrt[3]"),
];

/// Powers of a thousand in words: factors of the number before them, no units.
const SCALES: [(&str, &str); 4] =
    [("thousand", "*10^{3}"), ("million", "*10^{6}"), ("billion", "*10^{9}"), ("trillion", "*10^{12}")];

const SUPERSCRIPTS: [char; 10] =
    ['\u{2070}', '\u{b9}', '\u{b2}', '\u{b3}', '\u{2074}', '\u{2075}', '\u{2076}', '\u{2077}', '\u{2078}', '\u{2079}'];

/// How deep groups are read: what is deeper stays as it is.
const MAX_DEPTH: usize = 16;

/// The answer with one spelling of each command and character, without fonts and sizes. What a font
/// sets stays marked, as `\text{..}`, where it is words.
pub(super) fn plain(answer: &str) -> String {
    let trimmed = answer.trim().trim_start_matches("**").trim_end_matches("**");
    let text = translate(trimmed, 0).replace("{,}", ",").replace("{}", "");
    let is_end = |c: char| c.is_whitespace() || matches!(c, '.' | ROW);
    text.trim_end_matches(is_end).trim_start().to_owned()
}

/// What stands for a line break of LaTeX, `\\`, which ends a row of a matrix.
pub(super) const ROW: char = '\u{1e}';

fn translate(text: &str, depth: usize) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        match first {
            '\\' => rest = command(rest, &mut out, depth),
            '^' => {
                // A degree is no power.
                let power = rest.trim_start().trim_start_matches('{').trim_start();
                let is_degree = power.starts_with("\\circ") || power.starts_with("\\degree");
                out.push_str(if is_degree && !power.starts_with("\\circle") { "" } else { "^" });
            }
            '\u{221a}' if rest.starts_with(|c: char| c.is_ascii_digit()) => {
                // The sign takes all of the number behind it.
                let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
                out.extend(["\\sqrt{", &rest[..end], "}"]);
                rest = &rest[end..];
            }
            c if SUPERSCRIPTS.contains(&c) => {
                let end = rest.find(|c| !SUPERSCRIPTS.contains(&c)).unwrap_or(rest.len());
                let digit = |c: char| SUPERSCRIPTS.iter().position(|known| *known == c).unwrap_or_default();
                let digits = [c].into_iter().chain(rest[..end].chars()).map(|c| digit(c).to_string());
                out.extend(["^{".to_owned(), digits.collect(), "}".to_owned()]);
                rest = &rest[end..];
            }
            ',' => match spaced_thousands(rest).filter(|_| ends_with_digit(&out)) {
                Some(digits) => rest = digits,
                None => out.push(','),
            },
            c if c.is_whitespace() => out.push(' '),
            c if c.is_ascii_alphabetic() => {
                let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
                let word = &text[text.len() - rest.len() - 1..text.len() - rest.len() + end];
                rest = &rest[end..];
                let is_times = word == "x" && ends_with_digit(&out);
                out.push_str(match word {
                    _ if scale(word).is_some() && ends_with_value(&out) => scale(word).unwrap_or_default(),
                    "sqrt" => "\\sqrt",
                    "pi" => "\\pi ",
                    "infinity" | "inf" => "\\infty ",
                    "x" if is_times && rest.trim_start().starts_with("10^") => "*",
                    _ => word,
                });
            }
            c => match CHARACTERS.iter().find(|(known, _)| *known == c) {
                Some((_, spelled)) => out.push_str(spelled),
                None => out.push(c),
            },
        }
    }
    out
}

/// Writes the command that `text` begins with, behind its backslash; what follows it.
fn command<'t>(text: &'t str, out: &mut String, depth: usize) -> &'t str {
    let letters = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let end = if letters > 0 { letters } else { text.chars().next().map_or(0, char::len_utf8) };
    let (name, rest) = text.split_at(end);
    if name == "\\" {
        out.push(ROW);
    } else if DROPPED.contains(&name) || name.is_empty() {
    } else if SPACES.contains(&name) {
        out.push(' ');
    } else if FONTS.contains(&name) {
        return font(rest, out, depth);
    } else if WITH_ARGUMENT.contains(&name) {
        return group(rest).map_or(rest, |(_, rest)| rest);
    } else if let Some((_, spelled)) = SYNONYMS.iter().find(|(known, _)| *known == name) {
        out.push_str(spelled);
    } else {
        out.extend(["\\", name]);
    }
    rest
}

/// Writes the group that a font sets: words stay marked as such.
fn font<'t>(text: &'t str, out: &mut String, depth: usize) -> &'t str {
    let Some((inside, rest)) = group(text.trim_start_matches('*')).filter(|_| depth < MAX_DEPTH) else { return text };
    let words = inside.trim_start();
    let (first, others) = words.split_at(words.find(|c: char| !c.is_alphabetic()).unwrap_or(words.len()));
    let scale = scale(first).filter(|_| ends_with_value(out));
    out.push_str(scale.unwrap_or_default());
    let inside = translate(if scale.is_some() { others } else { inside }, depth + 1);
    match inside.trim_matches([' ', ',']) {
        joins @ ("and" | "or") => out.extend([" ", joins, " "]),
        // The imaginary unit is set upright by many.
        "i" => out.push('i'),
        _ if is_words(&inside) => out.extend(["\\text{", &inside, "}"]),
        _ => out.push_str(&inside),
    }
    rest
}

/// The factor that a word is.
fn scale(word: &str) -> Option<&'static str> {
    SCALES.iter().find(|(known, _)| word.eq_ignore_ascii_case(known)).map(|(_, factor)| *factor)
}

fn ends_with_digit(text: &str) -> bool {
    text.trim_end().ends_with(|c: char| c.is_ascii_digit())
}

fn ends_with_value(text: &str) -> bool {
    ends_with_digit(text) || text.trim_end().ends_with(['}', ')'])
}

/// The three digits behind a comma that is followed by a negative space, as `\!` or `\! `: so
/// thousands are set.
fn spaced_thousands(text: &str) -> Option<&str> {
    let digits = text.trim_start().strip_prefix("\\!")?.trim_start();
    let count = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    (count == 3).then_some(digits)
}

/// Whether it has letters, but no number, and nothing that is mathematics.
fn is_words(text: &str) -> bool {
    text.contains(char::is_alphabetic)
        && !text.contains(|c: char| c.is_ascii_digit() || matches!(c, '\\' | '^' | '_' | '=' | '{' | '}' | '+'))
}

/// The inside of the group in braces that `text` begins with, and what follows it.
fn group(text: &str) -> Option<(&str, &str)> {
    let inside = text.trim_start().strip_prefix('{')?;
    let end = closing_brace(inside)?;
    Some((&inside[..end], &inside[end + 1..]))
}

/// Where the group ends that `text` is inside of: at the brace that nothing escapes.
pub(super) fn closing_brace(text: &str) -> Option<usize> {
    let (mut depth, mut is_escaped) = (0_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The text that stands for what is no number: without white space and the marks of words, with
/// braces only where they hold several characters together. A word's capital initial does not
/// count.
pub(super) fn canonical(text: &str) -> String {
    let words = text.replace("\\text{", "{");
    let lower = words.split_whitespace().map(|word| {
        let mut chars = word.chars();
        let is_capital = chars.find(|c| c.is_alphabetic()).is_some_and(char::is_uppercase);
        let rest = chars.as_str();
        let is_word =
            rest.contains(char::is_alphabetic) && rest.chars().all(|c| c.is_lowercase() || !c.is_alphabetic());
        if is_capital && is_word { word.to_lowercase() } else { word.to_owned() }
    });
    let joined: Vec<char> = lower.collect::<String>().chars().collect();
    let is_word = !joined.iter().any(|c| matches!(c, '\\' | '^' | '_'));
    let mut out = String::with_capacity(joined.len());
    let mut at = 0;
    while let Some(&c) = joined.get(at) {
        let before = |at: usize| at.checked_sub(1).and_then(|at| joined.get(at));
        match (c, joined.get(at + 1), joined.get(at + 2)) {
            ('\\', Some(&next), _) => {
                out.extend([c, next]);
                at += 1;
            }
            ('{', Some(&inside), Some('}')) => {
                out.push(inside);
                at += 2;
            }
            // Braces that hold words together say nothing.
            ('{' | '}', ..) if is_word => {}
            ('*', Some(next), _) if !(next.is_ascii_digit() && before(at).is_some_and(char::is_ascii_digit)) => {}
            _ => out.push(c),
        }
        at += 1;
    }
    match out.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        // (B) is the choice B.
        Some(inside) if inside.chars().count() == 1 => inside.to_owned(),
        _ => out,
    }
}

/// Without the names before it: `x = y = 5`, `f(x) = 5`, `x \in [0, 1]`. What only names
/// something else, as `y = x`, stays.
pub(super) fn without_names(text: &str) -> &str {
    let mut value = text;
    let is_before = |left: &str| left.trim().is_empty() || is_name(left);
    while let Some((_, right)) = value.split_once(RELATIONS).filter(|(left, _)| is_before(left)) {
        value = right.trim();
    }
    let is_whole =
        (is_name(value) && !value.contains("\\frac")) || value.contains(['=', '<', '>', '\u{2264}', '\u{2265}']);
    if is_whole { text } else { value }
}

/// Without what only comes near the value: `\frac{5}{9} \approx .556`.
pub(super) fn without_approximations(text: &str) -> &str {
    let mut sides = text.split('\u{2248}').map(str::trim);
    let is_value = |side: &&str| !side.is_empty() && (!is_name(side) || side.contains("\\frac"));
    sides.find(is_value).unwrap_or(text)
}

/// The sides of equations.
pub(super) fn sides(text: &str) -> impl Iterator<Item = &str> {
    text.split(RELATIONS).map(str::trim)
}

/// What stands between a name and its value: equal to, element of.
const RELATIONS: [char; 2] = ['=', '\u{2208}'];

/// The values that one name is given one after the other: `x = 1, x = 2`.
pub(super) fn values_of_one_name<'t>(items: &[&'t str]) -> Option<Vec<&'t str>> {
    let named = |item: &&'t str| item.split_once('=').map(|(name, value)| (name.trim(), value));
    let pairs: Vec<_> = items.iter().map(named).collect::<Option<_>>()?;
    let (name, _) = *pairs.first()?;
    let is_one = pairs.len() > 1 && is_name(name) && pairs.iter().all(|(other, _)| *other == name);
    is_one.then(|| pairs.into_iter().map(|(_, value)| value).collect())
}

/// Whether it is a name: of a variable, a function of something, a segment, a tuple of variables.
pub(super) fn is_name(text: &str) -> bool {
    let text = text.trim();
    let function = text.find('(').filter(|&at| at > 0 && text.ends_with(')'));
    let outside = &text[..function.unwrap_or(text.len())];
    let is_tuple = text.starts_with('(');
    let is_part = |c: char| {
        c.is_alphanumeric()
            || matches!(c, ' ' | '(' | ')' | '_' | '\\' | '{' | '}' | '\'' | '|')
            || (c == ',' && is_tuple)
    };
    outside.contains(char::is_alphabetic)
        && outside.chars().all(is_part)
        && !outside.starts_with(|c: char| c.is_ascii_digit())
        && !outside.contains("\\sqrt")
}

/// The parts that `and` or `or` join, where there are several.
pub(super) fn joined(text: &str) -> Option<Vec<&str>> {
    let found =
        |text: &str| [" and ", " or "].iter().filter_map(|word| text.find(word).map(|at| (at, word.len()))).min();
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some((at, length)) = found(rest) {
        parts.push(rest[..at].trim().trim_end_matches(',').trim_end());
        rest = &rest[at + length..];
    }
    parts.push(rest.trim());
    (parts.len() > 1).then_some(parts)
}

/// Without what says of what a value is, before and behind it: `USD 5`, `\text{Answer: }5`,
/// `12 cm`, `5 \text{ apples}`, `3 m^2`, `7\frac{\text{km}}{\text{h}}`.
pub(super) fn without_units(text: &str) -> &str {
    let value = without_lead(text.trim());
    without_units_behind(value).unwrap_or(value)
}

/// Without a currency's code, or words that end with `is` or a colon, before a value.
fn without_lead(text: &str) -> &str {
    const CURRENCIES: [&str; 5] = ["USD", "EUR", "GBP", "INR", "Rs"];
    let is_lead = |words: &str| {
        let words = words.trim();
        words.ends_with(':') || words.ends_with(" is") || CURRENCIES.contains(&words.trim_end_matches('.'))
    };
    if let Some((words, rest)) = text.strip_prefix("\\text").and_then(group) {
        return if is_lead(words) && is_value(rest) { rest.trim() } else { text };
    }
    match text.split_once(' ') {
        Some((code, rest)) if CURRENCIES.contains(&code) && is_value(rest) => rest.trim(),
        _ => text,
    }
}

/// A value without the units behind it.
fn without_units_behind(text: &str) -> Option<&str> {
    let value = unit_of_words(text).or_else(|| unit_of_fraction(text)).or_else(|| unit_behind(text))?;
    let value = value.trim_end().trim_end_matches(['*', '/']).trim_end();
    if is_value(value) { Some(value) } else { without_units_behind(value) }
}

/// Of `\text{ cm}^2`, with or without a power.
fn unit_of_words(text: &str) -> Option<&str> {
    let (value, words) = text.rsplit_once("\\text{")?;
    let (word, rest) = words.split_once('}')?;
    let is_letter = || word.trim().chars().count() == 1 && word.contains(char::is_alphabetic);
    (is_power(rest) && (is_unit(word) || is_letter())).then_some(value)
}

/// Of `\frac{\text{km}}{\text{h}}`.
fn unit_of_fraction(text: &str) -> Option<&str> {
    let (value, fraction) = text.rsplit_once("\\frac")?;
    let (over, rest) = group(fraction)?;
    let (under, rest) = group(rest)?;
    let is_words =
        |text: &str| text.trim().strip_prefix("\\text").and_then(group).is_some_and(|(_, rest)| is_power(rest));
    (is_words(over) && is_words(under) && rest.trim().is_empty()).then_some(value)
}

/// Of `12 cm` and `12cm`.
fn unit_behind(text: &str) -> Option<&str> {
    // Directly behind a digit only what can be nothing else: 2xy is a product.
    const BEHIND_DIGITS: [&str; 25] = [
        "cm", "mm", "km", "dm", "kg", "mg", "ft", "in", "mi", "yd", "lb", "lbs", "oz", "ml", "mL", "hr", "hrs", "min",
        "sec", "mph", "kph", "km/h", "m/s", "C", "F",
    ];
    if let Some((value, _)) = text.rsplit_once(' ').filter(|(_, unit)| is_unit(unit)) {
        return Some(value);
    }
    let end = text.find(|c: char| c.is_ascii_alphabetic())?;
    let unit = text[end..].trim_end_matches(['2', '3', '^']);
    let value = &text[..end];
    (value.ends_with(|c: char| c.is_ascii_digit()) && BEHIND_DIGITS.contains(&unit)).then_some(value)
}

fn is_power(text: &str) -> bool {
    matches!(text.trim(), "" | "." | "^2" | "^3" | "^{2}" | "^{3}" | "^{-1}" | "^{-2}")
}

/// Whether a word can be a unit: of two letters or more, or one that stands for a unit alone.
fn is_unit(word: &str) -> bool {
    const SHORT: [&str; 14] = ["m", "g", "s", "h", "l", "L", "N", "W", "J", "V", "A", "K", "C", "F"];
    // What joins values, times of day, and what makes another value of the number.
    const OTHERS: &[&str] = &[
        "or",
        "and",
        "am",
        "pm",
        "a.m",
        "p.m",
        "pi",
        "to",
        "hundred",
        "halves",
        "thirds",
        "fourths",
        "fifths",
        "sixths",
        "sevenths",
        "eighths",
        "ninths",
        "tenths",
        "hundredths",
        "thousandths",
        "squared",
        "cubed",
        "factorial",
    ];
    let word = word.trim().trim_end_matches(['2', '3', '^', '.']);
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    let only_letters = word.chars().all(|c| c.is_alphabetic() || matches!(c, '/' | '-' | ' '));
    let whole = only_letters && word.split(' ').all(|part| !OTHERS.contains(&part.to_lowercase().as_str()));
    whole && scale(word).is_none() && (letters > 1 || SHORT.contains(&word))
}

/// Whether it has a number, and no letter but those of commands.
fn is_value(text: &str) -> bool {
    let mut rest = text.to_owned();
    let mut has_number = false;
    for (command, is_number) in
        [("\\frac", false), ("\\sqrt", false), ("\\overline", false), ("\\pm", false), ("\\pi", true)]
    {
        has_number |= is_number && rest.contains(command);
        rest = rest.replace(command, "");
    }
    (has_number || rest.contains(|c: char| c.is_ascii_digit()))
        && !rest.contains(|c: char| c.is_alphabetic() || c == '=')
}
