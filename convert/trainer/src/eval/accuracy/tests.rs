use super::*;
use crate::data::corpus::{Corpus, Problem};
use crate::eval::answer_command::AskedAnswer;
use crate::eval::answer_rule::{AnswerRule, FinalAnswer};
use crate::eval::degeneracy::QuestionLanguage;
use crate::report::statistics::Interval;
use crate::testing::{self, assert_close};

fn grade(text: &str) -> Grade {
    let answer =
        Answer { text: text.into(), tokens: 4, finished: !text.ends_with('-'), choices: Vec::new(), ids: Vec::new() };
    let asked = AskedAnswer { question: "How many?", expected: "7", answer: text };
    let judged = AnswerRule::Number.judge(&[asked], &[&grade_answer("7").unwrap()]).unwrap().remove(0);
    Grade::new(&answer, &QuestionLanguage::of("How many?"), judged)
}

fn row(name: &str, answers: &[&[&str]]) -> AccuracyRow {
    let grades: Vec<Vec<Grade>> = answers.iter().map(|texts| texts.iter().map(|text| grade(text)).collect()).collect();
    let grades: Vec<Vec<&Grade>> = grades.iter().map(|grades| grades.iter().collect()).collect();
    AccuracyRow::new(name, &grades, Scoring::default())
}

#[test]
fn rows_count_what_they_say() {
    let grades = [
        ["7", "8", "8", "it is 7.0"].map(grade),
        ["none", "1", "2", "1"].map(grade),
        ["7", "nothing", "no", "never"].map(grade),
    ];
    let grades: Vec<Vec<&Grade>> = grades.iter().map(|grades| grades.iter().collect()).collect();
    let row = AccuracyRow::new("r", &grades, Scoring::default());
    assert_eq!((row.name.as_str(), row.samples), ("r", 4));
    assert_close(row.accuracy.mean as f32, 3.0 / 12.0, 1e-6);
    assert!((0.0..0.25).contains(&row.accuracy.low) && (0.5..1.0).contains(&row.accuracy.high));
    assert_close(row.pass.unwrap().mean as f32, 2.0 / 3.0, 1e-6);
    // A tie goes to what came first; the missing ones have no vote.
    assert_close(row.majority.unwrap().mean as f32, 2.0 / 3.0, 1e-6);
    assert_close(row.distinct.unwrap() as f32, 5.0 / 3.0, 1e-6);
    assert_close(row.missing as f32, 4.0 / 12.0, 1e-6);
    let single: Vec<Vec<&Grade>> = grades.iter().map(|grades| grades[..1].to_vec()).collect();
    let row = AccuracyRow::new("r", &single, Scoring::default());
    assert!(row.pass.is_none() && row.majority.is_none() && row.distinct.is_none());
    assert_eq!(row.accuracy, Interval::wilson(&[true, false, true]));
}

#[test]
fn rows_tell_each_flaw_and_what_has_any() {
    let again = "on and on ".repeat(9) + "7";
    let row = row("r", &[&["7", &again], &["7 and-", "да 7"], &["none, да", &again], &["7 and-", "7"]]);
    let got = [row.cut, row.repetition, row.switch, row.foreign, row.missing, row.degenerate];
    let foreign = (1.0 + 2.0 / 6.0) / 8.0;
    for (got, want) in got.into_iter().zip([2.0 / 8.0, 2.0 / 8.0, 0.0, foreign, 1.0 / 8.0, 4.0 / 8.0]) {
        assert_close(got as f32, want as f32, 1e-6);
    }
}

fn report(rows: Vec<AccuracyRow>, used: ProblemUse) -> AccuracyReport {
    AccuracyReport { problems: 4, used, train_problems: None, rows }
}

#[test]
fn rows_are_compared_problem_by_problem_with_any_one_of_them() {
    let rows = || {
        vec![
            row("one", &[&["7"], &["8"], &["8"], &["8"]]),
            row("two", &[&["8"], &["7"], &["7"], &["8"]]),
            row("several", &[&["7", "8"], &["7", "7"], &["8", "8"], &["8", "8"]]),
        ]
    };
    let report = report(rows(), ProblemUse::HeldOut).against("one", 0).unwrap();
    assert_eq!(report.rows[0].against, None);
    let against = |at: usize| report.rows[at].against.clone().unwrap();
    let two = against(1);
    assert_eq!((two.row.as_str(), two.paired.wins, two.paired.losses), ("one", 2, 1));
    assert_close(two.paired.difference as f32, 0.25, 1e-6);
    assert_close(two.paired.p as f32, 1.0, 1e-6);
    let several = against(2);
    assert_eq!((several.paired.wins, several.paired.losses), (1, 1));
    assert_close(several.paired.difference as f32, 0.125, 1e-6);
    // Another row, of the same answers.
    let report = report.against("two", 0).unwrap();
    assert!(report.rows[1].against.is_none());
    let other = report.rows[0].against.clone().unwrap();
    assert_eq!((other.paired.wins, other.paired.losses, other.row.as_str()), (1, 2, "two"));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["rows"][0]["against"]["losses"], 2);
    assert!(json["rows"][0].get("right").is_none() && json["rows"][1].get("against").is_none());
    let text = report.to_string();
    assert!(text.contains("-.250 (1/2) p=1.000") && text.contains("against \"two\""), "{text}");
    let refused = report.against("three", 0).err().unwrap().to_string();
    assert!(["--against", "one", "two", "several"].iter().all(|part| refused.contains(part)), "{refused}");
}

#[test]
fn a_table_says_what_its_problems_chose() {
    for (used, kind, note) in [
        (ProblemUse::HeldOut, "4 held-out problems", ""),
        (ProblemUse::ChoseStep, "4 validation problems", "these problems chose the step"),
        (ProblemUse::ChoseLatent, "4 validation problems", "chose the best fixed latent"),
        (ProblemUse::Trained, "4 training problems", "learned from these problems"),
    ] {
        let text = report(vec![row("one", &[&["7"], &["8"], &["8"], &["8"]])], used).to_string();
        assert!(text.starts_with(kind) && text.contains(note), "{text}");
        assert_eq!(text.lines().count(), if note.is_empty() { 4 } else { 5 });
    }
}

#[test]
fn draws_follow_the_policy_and_repeat() {
    let row = || vec![grade("7"), grade("8"), grade("9")];
    let table = LatentTable { grades: (0..2000).map(|_| row()).collect(), states: Vec::new(), samples: Vec::new() };
    let policy = vec![vec![0.2, 0.0, 0.8]; 2000];
    let draws = table.draw(&policy, 10, 1);
    let share = AccuracyRow::new("r", &draws, Scoring::default()).accuracy.mean;
    assert_close(share as f32, 0.2, 0.01);
    assert!(draws.iter().flatten().all(|grade| grade.answer != grade_answer("8")));
    let numbers = |draws: &[Vec<&Grade>]| draws.iter().flatten().map(|g| g.answer.clone()).collect::<Vec<_>>();
    assert_eq!(numbers(&draws), numbers(&table.draw(&policy, 10, 1)));
    assert_ne!(numbers(&draws), numbers(&table.draw(&policy, 10, 2)));
    assert_eq!(table.accuracies(), [1.0, 0.0, 0.0]);
    assert_eq!((argmax(&[0.1, 0.4, 0.4]), argmax(&[])), (1, 0));
}

fn grade_answer(text: &str) -> Option<FinalAnswer> {
    AnswerRule::Number.extract(text)
}

struct Silent;

impl Progress for Silent {
    fn row(&self, _name: &str, _problems: usize) {}
    fn problem(&self) {}
}

fn corpus(questions: &[&str]) -> Corpus {
    let problem = |question: &&str| crate::data::corpus::Problem::new(*question, "#### 3");
    Corpus::new(questions.iter().map(problem).collect())
}

#[test]
fn the_table_has_every_row_and_comes_out_the_same_from_the_cache() {
    let backbone = testing::speaker();
    let plugin = testing::speaker_plugin(&backbone, 3);
    let rl = deploy::constant_policy(&plugin, &[0.0, 0.0, 1.0]).unwrap();
    let folder = testing::folder("accuracy");
    let library = || Library::new(&backbone, &folder, 1, 8);
    let systems = ComparedSystems {
        library: library(),
        lora: Some(library()),
        control: deploy::control(&plugin).unwrap(),
        rl: Some(rl.clone()),
        others: vec![
            ("the third".into(), rl),
            ("other".into(), deploy::control(&deploy::random_deltas(&plugin, 1).unwrap()).unwrap()),
        ],
        plugin,
    };
    let (test, train) = (corpus(&["ab", "c", "de"]), corpus(&["x", "yz"]));
    let [test, train] = [&test, &train].map(|corpus| Questions::new(corpus, None, &AnswerRule::Number).unwrap());
    let comparison = Comparison {
        samples: 4,
        temperatures: vec![0.6, 1.0],
        tokens: 12,
        held: Hold::Line,
        against: None,
        reward: Reward::default(),
        seed: 3,
    };
    let report = compare(&systems, &test, &train, &comparison, &Silent).unwrap();
    let names: Vec<&str> = report.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), 7 + 2 + 4 + 4 + 1 + 2 + 3 + 3 + 2 + 2, "{names:?}");
    let named = |name: &str| report.rows.iter().find(|row| row.name == name).unwrap();
    // The policy from reinforcement learning always holds latent 2.
    assert_eq!(named("RL policy, held").tokens.to_bits(), named("latent 2").tokens.to_bits());
    assert_eq!(named("all latents, held").samples, 3);
    assert_eq!(named("control, T = 1").samples, 4);
    assert_eq!(named("LoRA, greedy").tokens.to_bits(), named("backbone, greedy").tokens.to_bits());
    // Votes spend what all answers spend, and draws at least as much as latents.
    let vote = named("all latents, vote");
    assert_eq!((vote.samples, vote.accuracy.mean), (3, named("all latents, held").majority.unwrap().mean));
    assert_close(vote.tokens as f32, 3.0 * named("all latents, held").tokens as f32, 1e-4);
    assert!(named("control, T = 1, vote at equal tokens").tokens > 0.8 * vote.tokens);
    // Another policy of the same options is read from their answers; a control answers for itself.
    assert_eq!(named("the third").tokens.to_bits(), named("latent 2").tokens.to_bits());
    assert_eq!(named("other").tokens.to_bits(), named("control, greedy").tokens.to_bits());
    let oracle = named("optimal latent (oracle)").accuracy.mean;
    assert_eq!(oracle.to_bits(), named("all latents, held").pass.unwrap().mean.to_bits());
    let again = compare(&systems, &test, &train, &comparison, &Silent).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), serde_json::to_string(&report).unwrap());
    assert_eq!(report.to_string().lines().count(), names.len() + 3 + 2);
    let compared = report.rows.iter().filter(|row| row.against.as_ref().is_some_and(|a| a.row == "control, greedy"));
    assert_eq!((compared.count(), named("control, greedy").against.is_none()), (names.len() - 1, true));
    assert_eq!(report.used, ProblemUse::HeldOut);
    // The same answers, compared with another row.
    let other = Comparison { against: Some("mixture".into()), ..comparison.clone() };
    let other = compare(&systems, &test, &train, &other, &Silent).unwrap();
    assert!(other.rows.iter().all(|row| row.against.as_ref().map_or(row.name == "mixture", |a| a.row == "mixture")));
    let unknown = Comparison { against: Some("mixtures".into()), ..comparison.clone() };
    let refused = compare(&systems, &test, &train, &unknown, &Silent).err().unwrap().to_string();
    assert!(names.iter().all(|name| refused.contains(name)), "{refused}");
    // Tokens that have a price.
    let reward = Reward { token_cost: 0.125 };
    let priced = compare(&systems, &test, &train, &Comparison { reward, ..comparison.clone() }, &Silent).unwrap();
    for (row, free) in priced.rows.iter().zip(&report.rows) {
        assert_close(row.reward.unwrap() as f32, (row.accuracy.mean - 0.125 * row.tokens) as f32, 1e-4);
        assert!(free.reward.is_none() && free.accuracy == row.accuracy);
    }
    // Problems that choose the latent are no held-out ones.
    let chosen = compare(&systems, &test, &test, &comparison, &Silent).unwrap();
    assert_eq!(chosen.used, ProblemUse::ChoseLatent);
}

#[test]
fn data_without_a_number_and_a_foreign_decoder_are_refused() {
    let path = testing::folder("accuracy-data");
    std::fs::write(&path, "{\"question\":\"q\",\"answer\":\"#### 1\"}\n\n{\"question\":\"q\",\"answer\":\"so\"}")
        .unwrap();
    let corpus = Corpus::read(&[path.to_path_buf()], &crate::data::format::Fields::default()).unwrap();
    assert!(Questions::new(&corpus, Some(1), &AnswerRule::Number).is_ok());
    assert!(
        matches!(Questions::new(&corpus, Some(0), &AnswerRule::Number).err().unwrap(), Error::NoData(paths) if paths.len() == 1)
    );
    assert!(matches!(Questions::new(&corpus, None, &AnswerRule::Number).err().unwrap(), Error::Line { line: 3, .. }));
    let plugin = testing::speaker_plugin(&testing::speaker(), 3);
    let other = deploy::random_deltas(&plugin, 0).unwrap();
    assert!(check_decoders(&plugin, &other).is_err());
    assert!(check_decoders(&plugin, &deploy::constant_policy(&plugin, &[1.0; 3]).unwrap()).is_ok());
}

#[cfg(unix)]
#[test]
fn a_command_grades_and_pays_what_it_says() {
    // Worth a half where the answer is that of the data, and its final answer is always x.
    let rule: AnswerRule = "command:while IFS= read -r line; do case \"$line\" in \
         *'\"expected\":\"7\",\"answer\":\"7\"'*) echo '{\"reward\": 1, \"final\": \"x\"}';; \
         *) echo '{\"reward\": 0.5, \"final\": null}';; esac; done"
        .parse()
        .unwrap();
    let problem = |expected: &str| Problem { expected: Some(expected.into()), ..Problem::new("q", "long") };
    let corpus = Corpus::new(vec![problem("8"), problem("7")]);
    let questions = Questions::new(&corpus, None, &rule).unwrap();
    let answer =
        |text: &str| Answer { text: text.into(), tokens: 10, finished: true, choices: Vec::new(), ids: Vec::new() };
    let answers = [vec![answer("7"), answer("8")], vec![answer("8"), answer("7")]];
    let grades = questions.grade(&answers).unwrap();
    let scores: Vec<f64> = grades.iter().flatten().map(|grade| grade.score).collect();
    assert_eq!(scores, [0.5, 0.5, 0.5, 1.0]);
    assert!(!grades[1][0].is_right() && grades[1][0].flaws.missing && grades[1][0].answer.is_none());
    assert!(grades[1][1].is_right() && grades[1][1].answer == Some(FinalAnswer::Text("x".into())));
    // Rewards follow the problems' numbers.
    let rewards = questions.rewards(&[1, 0], &answers, Reward { token_cost: 0.01 }).unwrap();
    assert_eq!(rewards, [[0.9, 0.4], [0.4, 0.4]]);
    rule.finish().unwrap();
    let silent: AnswerRule = "command:exit 1".parse().unwrap();
    assert!(matches!(Questions::new(&corpus, None, &silent).err().unwrap(), Error::AnswerCommand { line: 1, .. }));
    assert!("command: ".parse::<AnswerRule>().is_err());
}
