//! Regular expressions of a `tokenizer.json`, which Oniguruma reads where Python runs them, as
//! fancy-regex is to read them.
//!
//! The two differ in what a word is, in the ends of lines, in the classes of POSIX, and in what
//! `{1,3}+` means: no possessive quantifier but a second quantifier.

/// What Oniguruma's `\w` matches beside [`WORD_IN_CLASS`] outside of a class.
const WORD: &str = r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}²³¹¼-¾]";
const WORD_IN_CLASS: &str = r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]";

/// The classes `[:name:]`.
const POSIX: [(&str, &str); 12] = [
    ("alnum", r"\p{Alphabetic}\p{Nd}"),
    ("alpha", r"\p{Alphabetic}"),
    ("blank", r"\p{Zs}\t"),
    ("cntrl", r"\p{Cc}"),
    ("digit", r"\p{Nd}"),
    ("graph", r"[^\s\p{Cc}\p{Cs}\p{Cn}]"),
    ("lower", r"\p{Lowercase}"),
    ("print", r"[^\p{Cc}\p{Cs}\p{Cn}\x{2028}\x{2029}]"),
    ("punct", r"\p{P}\p{S}"),
    ("space", r"\s"),
    ("upper", r"\p{Uppercase}"),
    ("word", WORD_IN_CLASS),
];

/// The same expression for fancy-regex.
pub(super) fn translated(expression: &str) -> String {
    let mut translation = Translation::default();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        rest = if translation.depth > 0 { translation.in_class(first, rest) } else { translation.outside(first, rest) };
    }
    translation.out
}

#[derive(Default)]
struct Translation {
    out: String,
    /// How many classes are open.
    depth: usize,
    /// Where the groups that are open begin.
    groups: Vec<usize>,
    /// Where that which a quantifier would repeat begins.
    atom: usize,
}

impl Translation {
    /// Takes what `rest` begins with, and gives what follows it.
    fn outside<'e>(&mut self, first: char, rest: &'e str) -> &'e str {
        if let Some(interval) = interval(rest) {
            return self.quantify(interval, &rest[interval.len()..]);
        }
        if matches!(first, '?' | '*' | '+' | '|') {
            return self.push(&rest[..1], &rest[1..]);
        }
        if first == ')' {
            self.atom = self.groups.pop().unwrap_or(self.out.len());
            return self.push(")", &rest[1..]);
        }
        self.atom = self.out.len();
        match first {
            '(' => self.groups.push(self.atom),
            '[' => return self.open_class(rest),
            '^' => return self.push(r"(?:\A|(?<=\n)(?!\z))", &rest[1..]),
            '$' => return self.push(r"(?=\n|\z)", &rest[1..]),
            _ => {}
        }
        let (token, after) = rest.split_at(token(first, rest));
        match token {
            r"\w" => self.push(WORD, after),
            r"\W" => self.push(&negated(WORD), after),
            r"\b" => self.push(&format!("(?:(?<={WORD})(?!{WORD})|(?<!{WORD})(?={WORD}))"), after),
            r"\B" => self.push(&format!("(?:(?<={WORD})(?={WORD})|(?<!{WORD})(?!{WORD}))"), after),
            r"\Z" => self.push(r"(?=\n?\z)", after),
            _ => self.push(token, after),
        }
    }

    fn in_class<'e>(&mut self, first: char, rest: &'e str) -> &'e str {
        if let Some((class, after)) = posix_class(rest) {
            return self.push(&class, after);
        }
        match first {
            '[' => return self.open_class(rest),
            ']' => self.depth -= 1,
            _ => {}
        }
        let (token, after) = rest.split_at(token(first, rest));
        match token {
            r"\w" => self.push(WORD_IN_CLASS, after),
            r"\W" => self.push(&negated(WORD_IN_CLASS), after),
            _ => self.push(token, after),
        }
    }

    /// `[`, `[^`, and a `]` behind them, which closes nothing.
    fn open_class<'e>(&mut self, rest: &'e str) -> &'e str {
        self.depth += 1;
        let inside = rest[1..].strip_prefix('^').unwrap_or(&rest[1..]);
        let inside = inside.strip_prefix(']').unwrap_or(inside);
        let (head, after) = rest.split_at(rest.len() - inside.len());
        self.push(head, after)
    }

    /// An interval that a quantifier follows is a repeated repetition.
    fn quantify<'e>(&mut self, interval: &str, after: &'e str) -> &'e str {
        let fixed = !interval.contains(',');
        let repeated = after.starts_with('+') || (fixed && after.starts_with('?'));
        if repeated {
            self.out.insert_str(self.atom, "(?:");
        }
        self.out += interval;
        if repeated {
            self.out.push(')');
        }
        after
    }

    fn push<'e>(&mut self, text: &str, after: &'e str) -> &'e str {
        self.out += text;
        after
    }
}

/// The length of the first character with what belongs to it, if it is an escape.
fn token(first: char, rest: &str) -> usize {
    let Some(escaped) = rest.strip_prefix('\\').and_then(|rest| rest.chars().next()) else { return first.len_utf8() };
    let head = 1 + escaped.len_utf8();
    let braced = || rest[head..].starts_with('{').then(|| rest[head..].find('}')).flatten().map_or(0, |end| end + 1);
    let digits = |most: usize| rest[head..].bytes().take(most).take_while(u8::is_ascii_hexdigit).count();
    head + match escaped {
        'p' | 'P' | 'k' | 'g' | 'o' => braced(),
        'x' => braced().max(digits(2)),
        'u' => digits(4),
        _ => 0,
    }
}

/// `{n}`, `{n,}`, `{,m}`, or `{n,m}`.
fn interval(rest: &str) -> Option<&str> {
    let inside = rest.strip_prefix('{')?.split_once('}')?.0;
    let is_interval = inside.bytes().any(|byte| byte.is_ascii_digit())
        && inside.bytes().all(|byte| byte.is_ascii_digit() || byte == b',')
        && inside.bytes().filter(|&byte| byte == b',').count() <= 1;
    is_interval.then(|| &rest[..inside.len() + 2])
}

/// What `[:name:]` or `[:^name:]` stands for, and what follows it.
fn posix_class(rest: &str) -> Option<(String, &str)> {
    let (name, after) = rest.strip_prefix("[:")?.split_once(":]")?;
    let plain = name.strip_prefix('^').unwrap_or(name);
    let class = POSIX.iter().find(|(known, _)| *known == plain).map(|(_, class)| format!("[{class}]"))?;
    Some((if plain == name { class } else { negated(&class) }, after))
}

fn negated(class: &str) -> String {
    format!("[^{}", &class[1..])
}

#[cfg(test)]
mod tests {
    use tokenizers::utils::SysRegex;

    use super::translated;

    /// What is left of the text without the matches, as Python's `tokenizers` gives it.
    #[test]
    fn expressions_match_what_oniguruma_matches() {
        const WORDS: &str = "½a-²‿١Ⅷ\u{200d}";
        for (expression, text, rest) in [
            (r"\w", WORDS, "-\u{200d}"),
            (r"\W", WORDS, "½a²‿١Ⅷ"),
            (r"[\w]", WORDS, "½-²\u{200d}"),
            (r"[^\W_]", WORDS, "½-²\u{200d}"),
            (r"[^\w]", WORDS, "a‿١Ⅷ"),
            (r"\d+\b", "12½ 34 56٣ 78\u{200d}", "12½   \u{200d}"),
            (r"a\B", "ab a½ a-", "b ½ a-"),
            ("a$", "ab\na\nba\n", "ab\n\nb\n"),
            ("^a", "ab\na\nba", "b\n\nba"),
            (r"a\Z", "a\na\n", "a\n\n"),
            ("x^a?", "x\n", "x\n"),
            (r"-\p{N}{1,3}+", "-1234567-", "-"),
            (r"-(?:\d|x){2}?", "-1x3", "3"),
            (r"[[:punct:]]", "a$b。c¢", "abc"),
            (r"[[:^punct:]a]+", "a$b。c", "$。"),
            (r"[]a]", "a]b", "b"),
            (r"[^]a]", "a]b", "a]"),
            (r"\[{1,2}+x", "[[[x]", "]"),
            ("a{x|\u{e9}", "a{xé", ""),
            (r"\uac00{1}+-|\x{ac00}", "가가-가", ""),
        ] {
            let regex = SysRegex::new(&translated(expression)).unwrap();
            let mut left = String::new();
            let mut end = 0;
            for (from, to) in regex.find_iter(text) {
                left += &text[end..from];
                end = to;
            }
            assert_eq!(left + &text[end..], rest, "{expression} on {text:?}");
        }
    }

    /// What needs no change has none.
    #[test]
    fn expressions_that_both_read_alike_stay() {
        for expression in [
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+",
            r"(?=(\d{3})+(?!\d))",
            "[一-龥぀-ゟ゠-ヿ]+|[a-z&&[^b]]++|(?<=a)b|\\\\w|[\\^$]",
        ] {
            assert_eq!(translated(expression), expression);
        }
    }
}
