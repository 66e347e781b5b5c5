//! Arguments of Python functions: by position or by name.

use minijinja::{Error, ErrorKind, State, Value};

type Result<T> = std::result::Result<T, Error>;

/// Arguments by position, and those by name.
pub(super) fn split_keywords(args: &[Value]) -> (&[Value], Option<&Value>) {
    match args.split_last() {
        Some((last, rest)) if last.is_kwargs() => (rest, Some(last)),
        _ => (args, None),
    }
}

/// The arguments in the order of `names`; those that are not given are none.
pub(super) fn bind<const N: usize>(args: &[Value], names: [&str; N]) -> Result<[Option<Value>; N]> {
    let (positional, keywords) = split_keywords(args);
    if positional.len() > N {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut bound = [const { None }; N];
    for (slot, value) in bound.iter_mut().zip(positional) {
        *slot = Some(value.clone());
    }
    for key in keywords.map(Value::try_iter).transpose()?.into_iter().flatten() {
        let slot = names.iter().position(|name| key.as_str() == Some(*name)).filter(|&at| bound[at].is_none());
        let at = slot.ok_or_else(|| refused(&format!("unexpected argument {key}")))?;
        bound[at] = Some(keywords.unwrap_or(&Value::UNDEFINED).get_item(&key)?);
    }
    Ok(bound)
}

pub(super) fn refused(reason: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.to_owned())
}

pub(super) fn required(value: Option<Value>) -> Result<Value> {
    value.ok_or_else(|| Error::from(ErrorKind::MissingArgument))
}

/// A text that has to be given.
pub(super) fn text(value: Option<Value>) -> Result<String> {
    let value = required(value)?;
    value.as_str().map(str::to_owned).ok_or_else(|| refused("a string is expected"))
}

/// A text, where something other than none is given.
pub(super) fn opt_text(value: Option<Value>) -> Result<Option<String>> {
    value.filter(|value| !value.is_none()).map(|value| text(Some(value))).transpose()
}

/// An integer, where something other than none is given.
pub(super) fn opt_int(value: Option<Value>) -> Result<Option<i64>> {
    let number = |value: Value| match value.kind() {
        minijinja::value::ValueKind::Bool => Ok(i64::from(value.is_true())),
        _ => value.as_i64().filter(|_| value.is_integer()).ok_or_else(|| refused("an integer is expected")),
    };
    value.filter(|value| !value.is_none()).map(number).transpose()
}

/// A size that has to be given; a negative one is 0.
pub(super) fn size(value: Option<Value>) -> Result<usize> {
    let number = opt_int(Some(required(value)?))?.ok_or_else(|| refused("an integer is expected"))?;
    Ok(usize::try_from(number).unwrap_or(0))
}

pub(super) fn is_true(value: Option<Value>) -> bool {
    value.is_some_and(|value| value.is_true())
}

/// Pays for so many bytes, before they are there.
pub(super) fn pay(state: &State<'_, '_>, bytes: usize) -> Result<()> {
    state.consume_fuel((bytes / 64) as u64)
}

/// The items of a value; those of one that is not defined are none.
pub(super) fn items(state: &State<'_, '_>, value: &Value) -> Result<Vec<Value>> {
    check_iterable(value)?;
    let items: Vec<Value> = value.try_iter()?.collect();
    state.consume_fuel(items.len() as u64)?;
    Ok(items)
}

/// The engine has no items for `none`, which Python refuses.
pub(super) fn check_iterable(value: &Value) -> Result<()> {
    if value.is_none() { Err(refused("none is not iterable")) } else { Ok(()) }
}
