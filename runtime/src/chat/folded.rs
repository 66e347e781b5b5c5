//! What values were before twins: as they were said, for searches and comparisons.

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, State, Value};

use super::args::pay;
use super::guard::Folded;

type Result<T> = std::result::Result<T, Error>;

/// How deep lists are nested whose texts are compared as they were said.
pub(super) const FOLD_LEVELS: usize = 8;

/// What a value was before twins, for a comparison: texts, lists of them, names of fields.
pub(super) fn folded(state: &State<'_, '_>, value: &Value, levels: usize) -> Result<Value> {
    let Some(levels) = levels.checked_sub(1) else { return Ok(value.clone()) };
    if let Some(text) = value.as_str() {
        pay(state, text.len())?;
        let folded = Folded::new(text);
        return Ok(if folded.is_plain() { value.clone() } else { folded.into_text().into() });
    }
    let has_twins = |item: &Value| item.as_str().is_some_and(|text| !Folded::new(text).is_plain()) || is_list(item);
    if !is_list(value) && (value.kind() != ValueKind::Map || value.as_object().is_none()) {
        return Ok(value.clone());
    }
    let items: Vec<Value> = value.try_iter()?.collect();
    state.consume_fuel(items.len() as u64)?;
    if !items.iter().any(has_twins) {
        return Ok(value.clone());
    }
    if value.kind() == ValueKind::Map {
        let pair = |key: Value| Ok((folded(state, &key, levels)?, value.get_item(&key)?));
        return items.into_iter().map(pair).collect::<Result<Vec<_>>>().map(Value::from_pairs);
    }
    let items = items.iter().map(|item| folded(state, item, levels)).collect::<Result<Vec<_>>>()?;
    Ok(if value.is_tuple() { Value::from(Tuple::from(items)) } else { items.into() })
}

fn is_list(value: &Value) -> bool {
    value.kind() == ValueKind::Seq
}
