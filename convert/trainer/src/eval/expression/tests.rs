use super::*;

#[test]
fn equal_answers_have_one_normal_form() {
    let equal: &[&[&str]] = &[
        &[
            "3/4",
            "\\frac{3}{4}",
            "\\dfrac34",
            ".75",
            "0.750",
            "$\\frac{6}{8}$",
            "75/100",
            "\\left(\\frac{3}{4}\\right)",
        ],
        &["2\\sqrt{3}", "\\sqrt{12}", "\\sqrt{3}\\cdot 2", "\\frac{6}{\\sqrt{3}}", "2\\sqrt3", "12^{1/2}", "√12"],
        &["1234", "1,234", "1{,}234", "1234.0", "1.234 * 10^3"],
        &["-5", "\u{2212}5", "x = -5", "-5.", "- 5", "(-5)"],
        &["1\\frac{1}{2}", "1 1/2", "3/2", "1.5"],
        &["2\\pi", "\\pi\\cdot 2", "2π", "\\frac{4\\pi}{2}"],
        &["1 + \\sqrt{2}", "\\sqrt{2} + 1", "\\frac{1}{\\sqrt{2} - 1}"],
        &["\\frac{1+\\sqrt5}{2}", "\\frac{1}{2} + \\frac{\\sqrt{5}}{2}"],
        &["(1, 2)", "\\left( 1, \\frac{4}{2} \\right)", "(1,2)"],
        &["[0, 1)", "\\left[0, 1\\right)"],
        &["\\{1, 2\\}", "2, 1", "\\left\\{ 2, 1, 1 \\right\\}"],
        &["12 cm", "12", "12 \\text{ cm}", "12\\mathrm{cm}", "12 square inches", "12 m^2"],
        &["50\\%", "50%", "50"],
        &["90^\\circ", "90", "90°", "90^{\\circ}"],
        &["\\text{yes}", "yes"],
        &["2^{10}", "1024", "32^2"],
        &["\\sqrt[3]{27}", "3"],
        &["x^2 + 1", "x^2+1", "y = x^2 + 1"],
        &["18", "\\$18", "$18", "\u{20ac}18", "18\\$"],
        &["(-\\infty, 1.5]", "\\left(-\\infty, \\frac32\\right]", "(-\u{221e}, 3/2]"],
        &["(-\\infty, 0) \\cup [1, \\infty)", "[1, +\\infty) \u{222a} (-\\infty, 0)"],
        &["1 \\pm \\sqrt{2}", "1 + \\sqrt2, 1 - \\sqrt2", "\\{1 \\pm \\sqrt{2}\\}"],
        &["10 N", "10", "10 \\text{ W}", "10\\text{J}"],
        &["12 345", "12345", "12\\,345"],
        &["(0,100)", "(0, 100)"],
        &["[1,234)", "[1, 234)"],
        &["6.5\\frac{1}{2}", "3.25", "3\\frac{13}{12}"],
        &["x \\ge 5", "x\\ge5", "x \\geq 5", "x \u{2265} 5"],
        &[
            "7",
            "\\text{7}",
            "\\mathbf{7}",
            "**7**",
            "7\\\\",
            "7\\quad",
            "\\boxed{7}",
            "\\textcolor{red}{7}",
            "\\approx 7",
            "x = y = 7",
            "3 + 4 = 7",
            "7 = n",
            "|AB| = 7",
            "f(-1) = 7",
            "\\frac{dy}{dx} = 7",
            "\\text{Answer: }7",
            "7e0",
        ],
        &["-8", "\u{2013}8", "\\text{-}8", "-8\u{b0}C", "-8\\degree", "-8 ^ \\circ"],
        &["1/8", "\\cfrac{1}{8}", "{1 \\over 8}", "125e-3", "\\textstyle\\frac18", "2^{-3}", "\\[\\frac18\\]"],
        &["5/2", "2\u{bd}", "2\\tfrac12", "2 1/2"],
        &["1/3", "0.\\overline{3}", "0.\\bar3", ".\\overline{33}", "\u{2153}"],
        &["13/6", "2.1\\overline{6}"],
        &["6000", "6e3", "6 \u{d7} 10^3", "6\u{b7}10\u{b3}", "6 x 10^3", "6\u{a0}000", "6\\,000", "USD 6000"],
        &["\\sqrt[3]{2}", "2^{1/3}", "\u{221b}2", "\\frac{2}{\\sqrt[3]{4}}", "\\sqrt[6]{4}", "\\sqrt[3]2"],
        &["5\\sqrt[3]{2}", "\\sqrt[3]{250}"],
        &["2\\sqrt5", "2sqrt(5)", "2*sqrt(5)", "2\\sqrt{5}\\text{ cm}"],
        &["1000000000000", "10^12", "10^{12}", "1e12"],
        &["11 m", "11\\operatorname{m}", "11 \\mathrm{kg}\\cdot\\mathrm{m}", "11\\frac{\\text{km}}{\\text{h}}", "11cm"],
        &["3 + 4i", "4i + 3", "3+4\\mathrm{i}", "(2+i)^2"],
        &["3, 5", "3 and 5", "3 \\text{ or } 5", "\\{3, 5\\}", "{3,5}", "x = 3, x = 5", "x=5 \\text{ or } x=3"],
        &["(4, 6)", "(x, y) = (4, 6)", "\\bigl(4, 6\\bigr)"],
        &["[2, 3]", "x \\in [2, 3]"],
        &["\\emptyset", "\\varnothing", "\\{\\}", "\u{2205}"],
        &[
            "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}",
            "\\begin{bmatrix}1&2\\\\3&\\frac{8}{2}\\\\\\end{bmatrix}",
        ],
        &["\\begin{pmatrix}1&2&3&4\\end{pmatrix}"],
        &["\\text{Monday}", "monday", "\\textbf{Monday}", "Monday."],
        &["\\textbf{(B)}", "B", "(B)"],
        &["e^2", "e^{2}"],
        &["1010_2", "1010_{2}"],
        &["2 x z", "2xz", "2*x*z"],
    ];
    for row in equal {
        for other in &row[1..] {
            assert_eq!(Expression::new(other), Expression::new(row[0]), "{other} and {}", row[0]);
        }
    }
    let first: Vec<Expression> = equal.iter().map(|row| Expression::new(row[0])).collect();
    for (i, one) in first.iter().enumerate() {
        assert!(first[..i].iter().all(|other| other != one), "{one:?}");
    }
}

#[test]
fn factors_in_words_and_set_thousands_are_of_the_number() {
    let equal: &[&[&str]] = &[
        &["11111100", "11,\\! 111,\\! 100", "11,\\!111,\\!100", "11{,}111{,}100"],
        &[
            "5 \\text{ million}",
            "5000000",
            "\\$5 million",
            "5\\text{ million dollars}",
            "5 \\text{ Million }\\text{people}",
        ],
        &["50 \\text{ thousand dollars}", "50000"],
        &["\\nicefrac{5}{9}", "\\sfrac59", "5/9", "\\frac59 \\approx 0.556", "x = \\frac{5}{9} \u{2248} .56"],
        &["1.41", "\\approx 1.41", "x \\simeq 1.41"],
    ];
    for row in equal {
        for other in *row {
            assert_eq!(Expression::new(other), Expression::new(row[0]), "{other} and {}", row[0]);
        }
    }
}

#[test]
fn different_answers_differ_and_what_is_undecided_is_a_text() {
    for (one, other) in [
        ("2\\sqrt{3}", "3"),
        ("2\\sqrt{3}", "2\\sqrt{2}"),
        ("(1, 2)", "(2, 1)"),
        ("[0, 1)", "(0, 1)"),
        ("(0, 1)", "0, 1"),
        ("2\\pi", "6.28"),
        ("0.33", "1/3"),
        ("yes", "no"),
        ("1,2", "12"),
        ("3 \\text{ or } 5", "3 \\text{ or } 7"),
        ("3 \\text{ or } 5", "3"),
        ("\\text{Monday}, 5", "\\text{Friday}, 7"),
        ("x=1, x=2", "2"),
        ("x>=5", "5"),
        ("\\infty", "-\\infty"),
        ("(0, \\infty)", "(0, 1)"),
        ("\\pm 2", "2"),
        ("1 2", "12"),
        ("y = 2x", "2"),
        ("x>=5", "x<=5"),
        ("(0,100)", "100"),
        ("\\{0,100\\}", "100"),
        ("{1,2}", "12"),
        ("2 x", "2 y"),
        ("x^2 + 3 x", "x^2 + 3"),
        ("3 am", "3 pm"),
        ("\\sqrt{2}", "1.41421356237"),
        ("2^{1/3}", "2^{1/2}"),
        ("0.\\overline{3}", "0.3"),
        ("0.\\overline{3}3", "1/3"),
        ("x + y = 3", "3"),
        ("x = 3, y = 3", "3"),
        ("x = 1, y = 2", "x = 2, y = 1"),
        ("2x = 6", "3"),
        ("\\text{at least }5", "5"),
        ("2xy", "2"),
        ("5k", "5"),
        ("3i", "3"),
        ("3\\mathrm{i}", "3"),
        ("1e3", "1e4"),
        ("5!", "5"),
        ("5 \\text{ million}", "5"),
        ("4 \\text{ hundredths}", "4"),
        ("2 \\text{ thirds}", "2"),
        ("7 \\text{ squared}", "7"),
        ("7 factorial", "7"),
        ("11, 111, 100", "11111100"),
        ("3:4", "34"),
        ("6:00 \\text{ a.m.}", "6:00 \\text{ p.m.}"),
        ("4 \\text{ hours } 30 \\text{ minutes}", "430"),
        ("5 and 6 cm", "6 cm"),
        ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1&2\\end{pmatrix}"),
        ("\\begin{vmatrix}1&2\\\\3&4\\end{vmatrix}", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}"),
        ("AB", "ab"),
    ] {
        assert_ne!(Expression::new(one), Expression::new(other), "{one} and {other}");
    }
    for text in [
        "x^2 + 1",
        "\\sqrt{-1}",
        "1/0",
        "\\frac{1}{0}",
        "",
        "2^{x}",
        "2^{-2147483648}",
        "10^{1000000000}",
        "((((",
        "\\sqrt{",
        "1.2.3",
        "a, b",
    ] {
        assert!(Expression::new(text).is_text(), "{text}: {:?}", Expression::new(text));
    }
    // Neither deep nor long texts break it.
    for part in ["(", "(1,", "\\sqrt", "\\sqrt{", "\\frac{1}{", "2^{", "{"] {
        for count in [20, 100, 100_000] {
            let deep = part.repeat(count);
            assert!(Expression::new(&deep).is_text(), "{part} {count}");
        }
    }
    assert_eq!(Expression::new(&format!("{}5", "-".repeat(500))), Expression::new("5"));
    assert!(Expression::new(&"9".repeat(100_000)).is_text());
    // Nor does what would take long.
    let nested = format!("{}1{}", "1\\frac{".repeat(40), "}{1}".repeat(40));
    assert!(matches!(Expression::new(&nested), Expression::Number(_) | Expression::Text(_)));
    let roots: Vec<String> = (0..60).map(|i| format!("\\sqrt{{{}}}", 1_048_573 - 2 * i)).collect();
    assert!(Expression::new(&format!("({})^2", roots.join("+"))).is_text());
    assert!(Expression::new("((1+\\sqrt2+\\sqrt3+\\sqrt5+\\sqrt7+\\sqrt{11}+\\sqrt{13})^8)^64").is_text());
    assert_eq!(Expression::new(&format!("2^{{{}}}", "(".repeat(40) + "8" + &")".repeat(40))), Expression::new("256"));
    assert!(Expression::new(&"(1+\\sqrt{2}+\\pi)".repeat(50)).is_text());
    assert!(Expression::new(&format!("1{}", "\\pm 2".repeat(100))).is_text());
}

#[test]
fn the_last_box_is_the_answer() {
    assert_eq!(boxed("a \\boxed{1} so \\boxed{\\frac{3}{4}} done"), Some("\\frac{3}{4}"));
    assert_eq!(boxed("\\boxed{1} and \\boxed{2"), Some("1"));
    assert_eq!(boxed("\\boxed {\\left\\{ 1, 2 \\right.}"), Some("\\left\\{ 1, 2 \\right."));
    assert_eq!(boxed("none"), None);
}
