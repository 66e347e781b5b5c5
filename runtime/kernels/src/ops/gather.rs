//! Some rows of a buffer: gathered into another one, and what was made of them scattered back.

use crate::cpu::Pool;

use super::{Shared, for_each_row};

/// `to[i] = from[rows[i]]`: rows of `width` elements.
///
/// # Panics
/// If `from` has not so many rows, or `to` not as many as there are `rows`.
pub fn gather(pool: &Pool, from: &[f32], width: usize, rows: &[u32], to: &mut [f32]) {
    assert_eq!(to.len(), rows.len() * width, "a row is gathered for each that is named");
    for_each_row(pool, to, width, |i, to| to.copy_from_slice(&from[rows[i] as usize * width..][..width]));
}

/// `to[rows[i]] += scales[i] * from[i]`: rows of `width` elements.
///
/// # Panics
/// If `rows` do not ascend, `to` has not so many rows, or `from` or `scales` not as many as there
/// are `rows`.
pub fn scatter_add(pool: &Pool, to: &mut [f32], width: usize, rows: &[u32], scales: &[f32], from: &[f32]) {
    assert!(rows.windows(2).all(|pair| pair[0] < pair[1]), "rows that are added to ascend");
    assert!(from.len() == rows.len() * width && scales.len() == rows.len(), "a row and a scale for each that is named");
    let to = Shared::new(to);
    pool.run(rows.len(), |i| {
        // SAFETY: rows ascend, so that each task has its own, and `run` returns before the borrow
        // of `to` ends.
        let row = unsafe { to.slice(rows[i] as usize * width, width) };
        super::add_scaled(row, &from[i * width..][..width], scales[i]);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_gathered_and_what_was_made_of_them_is_added() {
        let pool = Pool::new(3).unwrap();
        let from: Vec<f32> = (0..15).map(|i| i as f32).collect();
        let mut some = vec![0.0; 6];
        gather(&pool, &from, 3, &[1, 4], &mut some);
        assert_eq!(some, [3.0, 4.0, 5.0, 12.0, 13.0, 14.0]);
        let mut to = vec![1.0; 15];
        scatter_add(&pool, &mut to, 3, &[0, 3], &[2.0, -1.0], &some);
        assert_eq!(to[..3], [7.0, 9.0, 11.0]);
        assert_eq!(to[9..12], [-11.0, -12.0, -13.0]);
        assert!(to[3..9].iter().chain(&to[12..]).all(|&x| x.total_cmp(&1.0).is_eq()));
    }

    #[test]
    #[should_panic(expected = "ascend")]
    fn no_row_is_added_to_twice() {
        scatter_add(&Pool::new(1).unwrap(), &mut [0.0; 4], 2, &[1, 1], &[1.0; 2], &[0.0; 4]);
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn no_row_is_past_the_end() {
        scatter_add(&Pool::new(1).unwrap(), &mut [0.0; 4], 2, &[2], &[1.0], &[0.0; 2]);
    }
}
