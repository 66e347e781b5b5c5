use super::*;

fn options() -> SamplerOptions {
    SamplerOptions { temperature: 1.0, ..SamplerOptions::default() }
}

fn sampler(options: SamplerOptions) -> Sampler {
    Sampler::new(options).unwrap()
}

/// How often each token is drawn, in 20,000 draws.
fn frequencies(options: SamplerOptions, logits: &[f32]) -> Vec<f32> {
    let mut sampler = sampler(options);
    let mut counts = vec![0.0; logits.len()];
    for place in 0..20_000 {
        counts[sampler.sample(logits, &[], place, None).unwrap().token as usize] += 1.0 / 20_000.0;
    }
    counts
}

/// Logits of the probabilities .4 .3 .2 .1, out of order.
fn four() -> [f32; 4] {
    [0.2_f32.ln(), 0.4_f32.ln(), 0.1_f32.ln(), 0.3_f32.ln()]
}

fn assert_close(got: &[f32], expected: &[f32]) {
    let close = got.len() == expected.len() && got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 0.02);
    assert!(close, "{got:?} is not {expected:?}");
}

#[test]
fn options_out_of_range_name_their_field() {
    let error = |change: fn(&mut SamplerOptions)| {
        let mut options = options();
        change(&mut options);
        Sampler::new(options).err().map(|e| e.to_string()).unwrap_or_default()
    };
    for (field, found) in [
        ("temperature", error(|o| o.temperature = -0.1)),
        ("temperature", error(|o| o.temperature = f32::NAN)),
        ("temperature", error(|o| o.temperature = f32::INFINITY)),
        ("top-p", error(|o| o.top_p = 0.0)),
        ("top-p", error(|o| o.top_p = 1.01)),
        ("top-p", error(|o| o.top_p = f32::NAN)),
        ("min-p", error(|o| o.min_p = -0.1)),
        ("min-p", error(|o| o.min_p = f32::NAN)),
        ("repeat-penalty", error(|o| o.repeat_penalty = 0.0)),
        ("repeat-penalty", error(|o| o.repeat_penalty = f32::NAN)),
        ("presence-penalty", error(|o| o.presence_penalty = f32::NAN)),
        ("frequency-penalty", error(|o| o.frequency_penalty = f32::INFINITY)),
        ("typical-p", error(|o| o.typical_p = 0.0)),
        ("top-n-sigma", error(|o| o.top_n_sigma = -1.0)),
        ("xtc-probability", error(|o| o.xtc = Some(Xtc { probability: 1.5, threshold: 0.1 }))),
        ("xtc-threshold", error(|o| o.xtc = Some(Xtc { probability: 0.5, threshold: f32::NAN }))),
        ("mirostat", error(|o| o.mirostat = Some(Mirostat { tau: 0.0, eta: 0.1 }))),
        ("mirostat", error(|o| o.mirostat = Some(Mirostat { tau: 5.0, eta: -0.1 }))),
        ("dynamic", error(|o| o.dynamic_temperature = Some(DynamicTemperature { range: -0.1, exponent: 1.0 }))),
        ("dynamic", error(|o| o.dynamic_temperature = Some(DynamicTemperature { range: 0.1, exponent: 0.0 }))),
    ] {
        assert!(found.starts_with(field), "{field}: {found}");
    }
}

#[test]
fn greedy_takes_the_best_and_the_lowest_of_equals() {
    let mut greedy = sampler(SamplerOptions::default());
    let sampled = greedy.sample(&four(), &[], 0, None).unwrap();
    assert_eq!(sampled.token, 1);
    assert!((sampled.logprob - 0.4_f32.ln()).abs() < 1e-6);
    assert_eq!(greedy.sample(&[1.0, 1.0, 0.0], &[], 1, None).unwrap().token, 0);
}

#[test]
fn temperatures_shape_the_distribution() {
    assert_close(&frequencies(options(), &four()), &[0.2, 0.4, 0.1, 0.3]);
    let sharp = SamplerOptions { temperature: 0.5, ..options() };
    assert_close(&frequencies(sharp, &four()), &[4.0 / 30.0, 16.0 / 30.0, 1.0 / 30.0, 9.0 / 30.0]);
    let frozen = SamplerOptions { temperature: 1e-30, ..options() };
    assert_close(&frequencies(frozen, &four()), &[0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn filters_keep_what_they_should() {
    let top_k = SamplerOptions { top_k: 2, ..options() };
    assert_close(&frequencies(top_k, &four()), &[0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
    let top_p = SamplerOptions { top_p: 0.6, ..options() };
    assert_close(&frequencies(top_p, &four()), &[0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
    let min_p = SamplerOptions { min_p: 0.45, ..options() };
    assert_close(&frequencies(min_p, &four()), &[2.0 / 9.0, 4.0 / 9.0, 0.0, 3.0 / 9.0]);
}

#[test]
fn top_p_judges_before_the_temperature() {
    let hot = SamplerOptions { top_p: 0.35, temperature: 100.0, ..options() };
    assert_close(&frequencies(hot, &four()), &[0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn top_p_reaches_far_into_a_flat_vocabulary() {
    let mut half = sampler(SamplerOptions { top_p: 0.5, ..options() });
    let logits = vec![0.0; 2000];
    let highest = (0..300).map(|place| half.sample(&logits, &[], place, None).unwrap().token).max().unwrap();
    assert!((950..1000).contains(&highest), "{highest}");
}

#[test]
fn the_penalty_reaches_back_as_far_as_told() {
    let penalised = |last, history: &[u32]| {
        let options = SamplerOptions { repeat_penalty: 1.5, repeat_last_n: last, ..SamplerOptions::default() };
        sampler(options).sample(&[2.0, 1.9, -1.0], history, 3, None).unwrap()
    };
    assert_eq!(penalised(64, &[0, 0, 2]).token, 1);
    assert_eq!(penalised(1, &[0, 2]).token, 0);
    assert_eq!(penalised(0, &[0]).token, 0);
    let plain = logits::log_softmax_at(&[2.0, 1.9, -1.0], 1).unwrap();
    assert_eq!(penalised(64, &[0]).logprob.to_bits(), plain.to_bits());
}

#[test]
fn a_draw_depends_on_seed_and_place_alone() {
    let logits: Vec<f32> = (0..1000).map(|i| (i % 17) as f32 / 4.0).collect();
    let sampler = |seed| sampler(SamplerOptions { seed, top_p: 0.9, ..options() });
    let at = |sampler: &mut Sampler, place| sampler.sample(&logits, &[], place, None).unwrap().token;
    let (mut one, mut other) = (sampler(3), sampler(4));
    let forwards: Vec<u32> = (0..50).map(|place| at(&mut one, place)).collect();
    let mut backwards: Vec<u32> = (0..50).rev().map(|place| at(&mut one, place)).collect();
    backwards.reverse();
    assert_eq!(forwards, backwards);
    assert_ne!((0..50).map(|place| at(&mut other, place)).collect::<Vec<_>>(), forwards);
}

#[test]
fn bad_logits_and_histories_are_errors() {
    let mut penalty = sampler(SamplerOptions { repeat_penalty: 2.0, ..options() });
    for logits in [&[][..], &[0.0, f32::NAN], &[f32::INFINITY, 0.0], &[f32::NEG_INFINITY; 2]] {
        assert!(matches!(penalty.sample(logits, &[], 0, None), Err(SamplerError::Logits(_))), "{logits:?}");
    }
    let outside = LogitsError::TokenOutOfRange { token: 7, vocabulary: 2 };
    assert_eq!(penalty.sample(&[0.0, 1.0], &[7], 0, None), Err(SamplerError::Logits(outside)));
}

#[test]
fn impossible_tokens_are_never_drawn() {
    let logits = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY];
    assert_close(&frequencies(options(), &logits), &[0.0, 1.0, 0.0]);
}

#[test]
fn presence_and_frequency_are_taken_from_the_logits() {
    let chosen = |presence_penalty, frequency_penalty, history: &[u32]| {
        let options = SamplerOptions { presence_penalty, frequency_penalty, ..SamplerOptions::default() };
        sampler(options).sample(&[2.0, 1.5, -3.0], history, 3, None).unwrap().token
    };
    assert_eq!(chosen(0.4, 0.0, &[0, 0, 0]), 0);
    assert_eq!(chosen(0.6, 0.0, &[0]), 1);
    assert_eq!(chosen(0.0, 0.2, &[0, 0]), 0);
    assert_eq!(chosen(0.0, 0.2, &[0, 0, 0]), 1);
    // A negative one is a reward.
    assert_eq!(chosen(0.0, -2.0, &[2, 2, 2]), 2);
}

#[test]
fn dry_ends_a_repetition_and_lets_short_ones_be() {
    let dry = |last_n, breakers: &[u32]| Dry {
        multiplier: 0.8,
        base: 1.75,
        allowed_length: 2,
        last_n,
        breakers: breakers.to_vec().into(),
    };
    let chosen = |dry: Dry, history: &[u32]| {
        sampler(SamplerOptions { dry: Some(dry), ..SamplerOptions::default() }).sample(
            &[0.0, 1.0, 1.7, 0.5],
            history,
            9,
            None,
        )
    };
    let token = |dry, history: &[u32]| chosen(dry, history).unwrap().token;
    // 3 0 went on with 2: 0.8 of 1.7 is taken, which is less than the 1.0 of token 1.
    assert_eq!(token(dry(99, &[]), &[3, 0, 2, 1, 3, 0]), 1);
    assert_eq!(token(dry(99, &[]), &[0, 2, 1, 3, 0]), 2);
    assert_eq!(token(dry(99, &[3]), &[3, 0, 2, 1, 3, 0]), 2);
    assert_eq!(token(dry(5, &[]), &[3, 0, 2, 1, 3, 0]), 2);
    // A long one loses more than f32 holds, and is a number all the same.
    let long: Vec<u32> = (0..2_000).map(|i| i % 2).collect();
    assert_eq!(token(Dry { base: 9.0, ..dry(9_999, &[]) }, &long), 2);
}

#[test]
fn a_bias_moves_logits_and_bans() {
    let biased = |logit_bias: &[(u32, f32)]| {
        let options = SamplerOptions { logit_bias: logit_bias.to_vec(), ..SamplerOptions::default() };
        sampler(options).sample(&four(), &[], 0, None)
    };
    let moved = biased(&[(2, 5.0)]).unwrap();
    assert_eq!(moved.token, 2);
    assert!((moved.logprob - 0.1_f32.ln()).abs() < 1e-6, "the model's own");
    assert_eq!(biased(&[(1, f32::NEG_INFINITY)]).unwrap().token, 3);
    let all: Vec<(u32, f32)> = (0..4).map(|token| (token, f32::NEG_INFINITY)).collect();
    assert_eq!(biased(&all), Err(SamplerError::AllBanned));
    let outside = LogitsError::TokenOutOfRange { token: 4, vocabulary: 4 };
    assert_eq!(biased(&[(4, 1.0)]), Err(SamplerError::Logits(outside)));
    for value in [f32::NAN, f32::INFINITY] {
        let refused = Sampler::new(SamplerOptions { logit_bias: vec![(3, value)], ..SamplerOptions::default() });
        assert!(matches!(refused, Err(SamplerError::Bias { token: 3, .. })));
    }
}

#[test]
fn a_callback_sees_and_changes_logits() {
    let edit = |edit: fn(&mut [f32], &[u32])| {
        let edit = Some(LogitsEdit::new(edit));
        sampler(SamplerOptions { edit, ..SamplerOptions::default() }).sample(&four(), &[0, 1], 2, None)
    };
    assert_eq!(edit(|logits, history| logits[history[0] as usize] = 9.0).unwrap().token, 0);
    assert_eq!(edit(|logits, _| logits.fill(f32::NEG_INFINITY)), Err(SamplerError::AllBanned));
    for edited in [edit(|logits, _| logits[3] = f32::NAN), edit(|logits, _| logits[3] = f32::INFINITY)] {
        assert_eq!(edited, Err(SamplerError::Edited { token: 3 }));
    }
    let nan = sampler(options()).sample(&[0.0, f32::NAN], &[], 0, None);
    assert_eq!(nan, Err(SamplerError::Logits(LogitsError::NotFinite { token: 1 })));
}

/// Whoever bans all that may come here is told so, and not that the model is damaged.
#[test]
fn banning_all_that_is_allowed_is_told() {
    let allowed = &TokenSet::of(&[1, 3], 4).unwrap();
    let banned: Vec<(u32, f32)> = [1, 3].map(|token| (token, f32::NEG_INFINITY)).to_vec();
    let edit =
        Some(LogitsEdit::new(|logits, _| [1, 3].into_iter().for_each(|token| logits[token] = f32::NEG_INFINITY)));
    for temperature in [0.0, 1.0] {
        for (logit_bias, edit) in [(banned.clone(), None), (Vec::new(), edit.clone())] {
            let mut sampler = sampler(SamplerOptions { temperature, logit_bias, edit, ..options() });
            assert_eq!(sampler.sample(&four(), &[], 0, Some(allowed)), Err(SamplerError::AllBanned));
        }
        let mut sampler = sampler(SamplerOptions { temperature, ..options() });
        let impossible = sampler.sample(&[0.0, f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY], &[], 0, Some(allowed));
        assert_eq!(impossible, Err(SamplerError::Logits(LogitsError::Impossible)));
    }
}

#[test]
fn the_best_tokens_are_told_as_the_model_gives_them() {
    let mut three = sampler(SamplerOptions { logprobs: 3, logit_bias: vec![(1, -9.0)], ..options() });
    three.sample(&four(), &[], 0, None).unwrap();
    assert_eq!(three.top().iter().map(|(token, _)| *token).collect::<Vec<_>>(), [1, 3, 0]);
    assert_close(&three.top().iter().map(|(_, logprob)| logprob.exp()).collect::<Vec<_>>(), &[0.4, 0.3, 0.2]);
}

#[test]
fn filters_run_in_the_order_that_is_given() {
    let hot = |order: &[Filter]| {
        let options = SamplerOptions { top_p: 0.35, temperature: 100.0, order: order.to_vec(), ..options() };
        frequencies(options, &four())
    };
    assert_close(&hot(&[Filter::TopP, Filter::Temperature]), &[0.0, 1.0, 0.0, 0.0]);
    assert_close(&hot(&[Filter::Temperature, Filter::TopP]), &[0.0, 0.5, 0.0, 0.5]);
    let made =
        |order: &[Filter]| Sampler::new(SamplerOptions { top_p: 0.35, order: order.to_vec(), ..options() }).map(drop);
    assert_eq!(made(&[]), Err(SamplerError::Missing(Filter::TopP)));
    assert_eq!(made(&[Filter::TopP]), Ok(()));
    assert_eq!(made(&[Filter::TopP, Filter::TopP]), Err(SamplerError::Twice(Filter::TopP)));
    assert!(Filter::ALL.into_iter().all(|filter| Filter::named(filter.name()) == Some(filter)));
    assert_eq!(Filter::named("topk"), None);
}

#[test]
fn only_allowed_tokens_are_drawn_with_the_probability_among_all() {
    let allowed = TokenSet::of(&[0, 3], 4).unwrap();
    let draws = |options: SamplerOptions| {
        let (mut sampler, mut counts) = (sampler(options), vec![0.0; 4]);
        for place in 0..20_000 {
            let sampled = sampler.sample(&four(), &[1], place, Some(&allowed)).unwrap();
            assert!((sampled.logprob - four()[sampled.token as usize]).abs() < 1e-6);
            counts[sampled.token as usize] += 1.0 / 20_000.0;
        }
        counts
    };
    assert_close(&draws(options()), &[0.4, 0.0, 0.0, 0.6]);
    assert_close(&draws(SamplerOptions { top_k: 1, ..options() }), &[0.0, 0.0, 0.0, 1.0]);
    assert_close(&draws(SamplerOptions { top_p: 0.5, ..options() }), &[0.0, 0.0, 0.0, 1.0]);
    assert_close(&draws(SamplerOptions { min_p: 0.7, ..options() }), &[0.0, 0.0, 0.0, 1.0]);
    assert_close(&draws(SamplerOptions { temperature: 0.0, ..options() }), &[0.0, 0.0, 0.0, 1.0]);
    let penalty = SamplerOptions { repeat_penalty: 4.0, temperature: 0.0, ..options() };
    assert_eq!(sampler(penalty).sample(&[1.0, 9.0, 2.0, 3.0], &[3], 0, Some(&allowed)).unwrap().token, 0);
}

#[test]
fn where_nothing_is_allowed_nothing_is_drawn() {
    let logits = [0.0, f32::NEG_INFINITY];
    let mut allowed = TokenSet::empty(2).unwrap();
    for temperature in [0.0, 1.0] {
        let mut sampler = sampler(SamplerOptions { temperature, ..options() });
        for _ in 0..2 {
            let error = sampler.sample(&logits, &[], 0, Some(&allowed)).unwrap_err();
            assert_eq!(error, SamplerError::Logits(LogitsError::Impossible));
            allowed.insert(1);
        }
        allowed.remove(1);
    }
}

/// Penalties that leave the range of numbers: a token that is allowed is chosen, none comes back
/// that is banned.
#[test]
fn the_largest_penalties_leave_what_is_allowed() {
    let logits = [1.0, 0.5, 3.0, -2.0];
    let allowed = TokenSet::of(&[1, 3], 4).unwrap();
    let history = [1, 1, 3, 3, 3, 2];
    for penalty in [f32::MAX, -f32::MAX] {
        for order in [Filter::ALL.to_vec(), vec![Filter::Penalties, Filter::TopNSigma, Filter::MinP, Filter::Typical]] {
            let huge = SamplerOptions {
                presence_penalty: penalty,
                frequency_penalty: penalty,
                repeat_penalty: f32::MAX,
                repeat_last_n: 1000,
                top_n_sigma: 1.0,
                typical_p: 0.5,
                min_p: 0.1,
                logit_bias: vec![(3, f32::NEG_INFINITY)],
                order,
                ..options()
            };
            let mut sampler = sampler(huge);
            for place in 0..20 {
                assert_eq!(sampler.sample(&logits, &history, place, Some(&allowed)).unwrap().token, 1);
                assert_ne!(sampler.sample(&logits, &history, place, None).unwrap().token, 3);
            }
        }
    }
}
