//! Objects that Jinja's globals make: `cycler`, `joiner`, and `dict` as transformers has it; and
//! macros that take further arguments.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use minijinja::value::{Kwargs, Object, ObjectRepr, Tuple, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::args::{bind, refused, required, split_keywords};
use super::macros::VARIADIC;

type Result<T> = std::result::Result<T, Error>;

/// Adds the globals.
pub(super) fn add(environment: &mut Environment<'_>) {
    for name in ["cycler", "joiner", "dict", VARIADIC] {
        environment.add_global(name, Value::from_object(Maker { name }));
    }
}

/// Makes objects.
#[derive(Debug)]
struct Maker {
    name: &'static str,
}

impl Object for Maker {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value> {
        match self.name {
            "cycler" if args.is_empty() => Err(refused("a cycler needs items")),
            "cycler" => Ok(Value::from_object(Cycler { items: args.to_vec(), at: AtomicUsize::new(0) })),
            "joiner" => {
                let [separator] = bind(args, ["sep"])?;
                let separator = separator.unwrap_or_else(|| ", ".into());
                Ok(Value::from_object(Joiner { separator, used: AtomicBool::new(false) }))
            }
            VARIADIC => variadic(args),
            _ => dict(args),
        }
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value> {
        if (self.name, method) != ("dict", "fromkeys") {
            return Err(Error::from(ErrorKind::UnknownMethod));
        }
        let [keys, value] = bind(args, ["", " "])?;
        let value = value.unwrap_or_else(|| ().into());
        Ok(Value::from_pairs(required(keys)?.try_iter()?.map(|key| (key, value.clone()))))
    }
}

/// `dict(mapping or pairs, name=value, ..)`.
fn dict(args: &[Value]) -> Result<Value> {
    let mut entries = Vec::new();
    for (index, arg) in args.iter().enumerate() {
        match arg.kind() {
            ValueKind::Map => {
                for key in arg.try_iter()? {
                    let value = arg.get_item(&key)?;
                    entries.push((key, value));
                }
            }
            _ if index > 0 => return Err(Error::from(ErrorKind::TooManyArguments)),
            _ => {
                for pair in arg.try_iter()? {
                    let pair: Vec<Value> = pair.try_iter()?.take(3).collect();
                    let [key, value] = &pair[..] else { return Err(refused("an entry of a dict is a pair")) };
                    entries.push((key.clone(), value.clone()));
                }
            }
        }
    }
    Ok(Value::from_pairs(entries))
}

/// `__variadic__(macro, name of a parameter, .., varargs=true, kwargs=true)`.
fn variadic(args: &[Value]) -> Result<Value> {
    let (args, takes) = split_keywords(args);
    let [inner, names @ ..] = args else { return Err(Error::from(ErrorKind::MissingArgument)) };
    let takes = |name: &str| takes.is_some_and(|takes| takes.get_attr(name).is_ok_and(|takes| takes.is_true()));
    Ok(Value::from_object(Variadic {
        inner: inner.clone(),
        names: names.to_vec(),
        varargs: takes("varargs"),
        kwargs: takes("kwargs"),
    }))
}

/// A macro whose parameters `varargs` and `kwargs` get the arguments that it does not name.
#[derive(Debug)]
struct Variadic {
    inner: Value,
    names: Vec<Value>,
    varargs: bool,
    kwargs: bool,
}

impl Object for Variadic {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.inner.get_item(key).ok()
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value> {
        let (positional, keywords) = split_keywords(args);
        let (named, further) = positional.split_at(positional.len().min(self.names.len()));
        if !further.is_empty() && !self.varargs {
            return Err(Error::from(ErrorKind::TooManyArguments));
        }
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for key in keywords.map(Value::try_iter).transpose()?.into_iter().flatten() {
            let value = keywords.unwrap_or(&Value::UNDEFINED).get_item(&key)?;
            let is_known = !self.kwargs || self.names.contains(&key) || key.as_str() == Some("caller");
            if is_known { known.push((key.to_string(), value)) } else { unknown.push((key, value)) }
        }
        if self.varargs {
            known.push(("varargs".to_owned(), Tuple::from(further.to_vec()).into()));
        }
        if self.kwargs {
            known.push(("kwargs".to_owned(), Value::from_pairs(unknown)));
        }
        let mut args = named.to_vec();
        args.push(known.into_iter().collect::<Kwargs>().into());
        self.inner.call(state, &args)
    }
}

/// Gives its items in turn.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: AtomicUsize,
}

impl Cycler {
    fn current(&self) -> Value {
        self.items[self.at.load(Ordering::Relaxed) % self.items.len()].clone()
    }
}

impl Object for Cycler {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "current" => Some(self.current()),
            "items" => Some(Value::from(Tuple::from(self.items.clone()))),
            _ => None,
        }
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value> {
        let [] = bind(args, [])?;
        match method {
            "next" => {
                let current = self.current();
                self.at.fetch_add(1, Ordering::Relaxed);
                Ok(current)
            }
            "reset" => {
                self.at.store(0, Ordering::Relaxed);
                Ok(().into())
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

/// Gives nothing when it is called first, then the separator.
#[derive(Debug)]
struct Joiner {
    separator: Value,
    used: AtomicBool,
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value> {
        let [] = bind(args, [])?;
        Ok(if self.used.swap(true, Ordering::Relaxed) { self.separator.clone() } else { "".into() })
    }
}
