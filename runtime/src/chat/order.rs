//! Filters and tests that compare: `sort`, `min`, `max`, `unique`, `groupby`, `dictsort`, `eq`,
//! `lt`, and their like. They see texts as they were said (see `guard`), and order what Python
//! orders: texts with texts, numbers with numbers.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Tuple, ValueKind};
use minijinja::{Environment, Error, State, Value, tests};

use super::args::{bind, is_true, items, opt_int, refused, required};
use super::folded::{FOLD_LEVELS, folded};

type Result<T> = std::result::Result<T, Error>;

/// The names of a test that orders two values, and which orders it passes.
type OrderTest = (&'static [&'static str], fn(Ordering) -> bool);

const ORDERS: [OrderTest; 4] = [
    (&["lt", "lessthan", "<"], Ordering::is_lt),
    (&["le", "<="], Ordering::is_le),
    (&["gt", "greaterthan", ">"], Ordering::is_gt),
    (&["ge", ">="], Ordering::is_ge),
];

/// Adds the tests.
pub(super) fn add_tests(environment: &mut Environment<'_>) {
    for (names, expected) in [(&["eq", "equalto", "=="][..], true), (&["ne", "!="], false)] {
        for &name in names {
            environment.add_test(name, move |state: &State<'_, '_>, a: &Value, b: &Value| {
                let [a, b] = said(state, [a, b])?;
                Ok((a == b) == expected)
            });
        }
    }
    for (names, fits) in ORDERS {
        for &name in names {
            environment.add_test(name, move |state: &State<'_, '_>, a: &Value, b: &Value| {
                let [a, b] = said(state, [a, b])?;
                check_order([&a, &b])?;
                Ok(fits(a.cmp(&b)))
            });
        }
    }
    environment.add_test("in", |state: &State<'_, '_>, value: &Value, list: &Value| {
        let [value, list] = said(state, [value, list])?;
        tests::is_in(state, &value, &list)
    });
}

fn said(state: &State<'_, '_>, values: [&Value; 2]) -> Result<[Value; 2]> {
    let [a, b] = values.map(|value| folded(state, value, FOLD_LEVELS));
    Ok([a?, b?])
}

/// Values that can be ordered with each other: of the same kind, which has an order.
pub(super) fn check_order<'v>(values: impl IntoIterator<Item = &'v Value>) -> Result<()> {
    let kind = |value: &Value| match value.kind() {
        ValueKind::Bool | ValueKind::Number => ValueKind::Number,
        kind => kind,
    };
    let mut values = values.into_iter();
    let Some(first) = values.next() else { return Ok(()) };
    let has_order = matches!(kind(first), ValueKind::Number | ValueKind::String | ValueKind::Seq);
    match values.find(|value| !has_order || kind(value) != kind(first) || value.is_tuple() != first.is_tuple()) {
        None => Ok(()),
        Some(other) => Err(refused(&format!("{} and {} have no order", first.kind(), other.kind()))),
    }
}

/// What items are compared by: themselves or some of their attributes.
pub(super) struct Keys {
    /// The way to each attribute, such as `city.name`.
    ways: Vec<Vec<Value>>,
    default: Option<Value>,
    /// Whether there may be several.
    several: bool,
    case_sensitive: bool,
}

impl Keys {
    /// `attribute` is a way or an index; with `several`, ways between commas.
    pub(super) fn new(attribute: Option<Value>, several: bool, case_sensitive: Option<Value>) -> Result<Self> {
        let attribute = attribute.filter(|attribute| !attribute.is_none());
        let way = |text: &str| -> Vec<Value> {
            let step = |step: &str| step.parse::<i64>().map_or_else(|_| Value::from(step), Value::from);
            text.split('.').map(step).collect()
        };
        let ways = match &attribute {
            None => vec![Vec::new()],
            Some(text) if text.as_str().is_some() => {
                let text = text.as_str().unwrap_or_default();
                if several { text.split(',').map(way).collect() } else { vec![way(text)] }
            }
            Some(index) => vec![vec![opt_int(Some(index.clone()))?.into()]],
        };
        Ok(Self { ways, default: None, several, case_sensitive: is_true(case_sensitive) })
    }

    /// With what takes the place of attributes that are not defined.
    pub(super) fn with_default(mut self, default: Option<Value>) -> Self {
        self.default = default.filter(|default| !default.is_none());
        self
    }

    /// The only attribute of an item.
    pub(super) fn attribute(&self, item: &Value) -> Result<Value> {
        self.attribute_at(item, &self.ways[0])
    }

    /// The attribute at the end of a way.
    fn attribute_at(&self, item: &Value, way: &[Value]) -> Result<Value> {
        let mut value = item.clone();
        for step in way {
            value = value.get_item(step)?;
            if let (true, Some(default)) = (value.is_undefined(), &self.default) {
                value = default.clone();
            }
        }
        Ok(value)
    }

    /// What an item is compared by.
    fn of(&self, state: &State<'_, '_>, item: &Value) -> Result<Vec<Value>> {
        let key = |way: &Vec<Value>| {
            let value = folded(state, &self.attribute_at(item, way)?, FOLD_LEVELS)?;
            Ok(match value.as_str() {
                Some(text) if !self.case_sensitive => text.to_lowercase().into(),
                _ => value,
            })
        };
        self.ways.iter().map(key).collect()
    }

    /// Items with what they are compared by, paid for as a sort.
    fn keyed(&self, state: &State<'_, '_>, items: Vec<Value>) -> Result<Vec<(Vec<Value>, Value)>> {
        let count = items.len();
        state.consume_fuel((count * (usize::BITS - count.leading_zeros()) as usize) as u64)?;
        items.into_iter().map(|item| Ok((self.of(state, &item)?, item))).collect()
    }

    /// Items in order; those that are equal stay as they are.
    fn sorted(&self, state: &State<'_, '_>, items: Vec<Value>, reverse: bool) -> Result<Vec<(Vec<Value>, Value)>> {
        let mut keyed = self.keyed(state, items)?;
        for way in 0..self.ways.len() {
            let keys = || keyed.iter().map(|(key, _)| &key[way]);
            // In a list of attributes, what is equal to all others needs no order.
            if !self.several || keys().any(|key| *key != keyed[0].0[way]) {
                check_order(keys())?;
            }
        }
        keyed.sort_by(|(a, _), (b, _)| if reverse { b.cmp(a) } else { a.cmp(b) });
        Ok(keyed)
    }
}

fn values(keyed: Vec<(Vec<Value>, Value)>) -> Value {
    keyed.into_iter().map(|(_, item)| item).collect()
}

pub(super) fn sort(state: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    let [reverse, case_sensitive, attribute] = bind(args, ["reverse", "case_sensitive", "attribute"])?;
    let keys = Keys::new(attribute, true, case_sensitive)?;
    Ok(values(keys.sorted(state, items(state, value)?, is_true(reverse))?))
}

pub(super) fn min(state: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    extreme(state, value, args, Ordering::is_lt)
}

pub(super) fn max(state: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    extreme(state, value, args, Ordering::is_gt)
}

/// The first item that no other one is better than.
fn extreme(state: &State<'_, '_>, value: &Value, args: &[Value], better: fn(Ordering) -> bool) -> Result<Value> {
    let [case_sensitive, attribute] = bind(args, ["case_sensitive", "attribute"])?;
    let keyed = Keys::new(attribute, false, case_sensitive)?.keyed(state, items(state, value)?)?;
    check_order(keyed.iter().map(|(key, _)| &key[0]))?;
    let best = keyed.into_iter().reduce(|best, item| if better(item.0.cmp(&best.0)) { item } else { best });
    Ok(best.map_or(Value::UNDEFINED, |(_, item)| item))
}

pub(super) fn unique(state: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    let [case_sensitive, attribute] = bind(args, ["case_sensitive", "attribute"])?;
    let keys = Keys::new(attribute, false, case_sensitive)?;
    let (mut seen, mut first) = (BTreeSet::new(), Vec::new());
    for item in items(state, value)? {
        let key = keys.of(state, &item)?;
        if key.iter().any(|key| matches!(key.kind(), ValueKind::Seq | ValueKind::Map) && !key.is_tuple()) {
            return Err(refused("a list or a mapping cannot be compared by `unique`"));
        }
        if seen.insert(key) {
            first.push(item);
        }
    }
    Ok(first.into())
}

pub(super) fn group_by(state: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    let [attribute, default, case_sensitive] = bind(args, ["attribute", "default", "case_sensitive"])?;
    let keys = Keys::new(Some(required(attribute)?), false, case_sensitive)?.with_default(default);
    let mut groups: Vec<(Vec<Value>, Group)> = Vec::new();
    for (key, item) in keys.sorted(state, items(state, value)?, false)? {
        match groups.last_mut() {
            Some((last, group)) if *last == key => group.list.push(item),
            _ => {
                let grouper = keys.attribute(&item)?;
                groups.push((key, Group { grouper, list: vec![item] }));
            }
        }
    }
    Ok(groups.into_iter().map(|(_, group)| Value::from_object(group)).collect())
}

/// A group of `groupby`: a pair whose items have names.
#[derive(Debug)]
struct Group {
    grouper: Value,
    list: Vec<Value>,
}

impl Object for Group {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match (key.as_usize(), key.as_str()) {
            (Some(0), _) | (_, Some("grouper")) => Some(self.grouper.clone()),
            (Some(1), _) | (_, Some("list")) => Some(self.list.iter().cloned().collect()),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(2)
    }
}

pub(super) fn dict_sort(state: &mut State<'_, '_>, value: &Value, args: &[Value]) -> Result<Value> {
    let [case_sensitive, by, reverse] = bind(args, ["case_sensitive", "by", "reverse"])?;
    let by = match by.as_ref().map_or(Some("key"), Value::as_str) {
        Some("key") => 0,
        Some("value") => 1,
        _ => return Err(refused("`dictsort` sorts by `key` or by `value`")),
    };
    if value.kind() != ValueKind::Map {
        return Err(refused(&format!("{} is no mapping", value.kind())));
    }
    let pair = |key: Value| Ok(Value::from(Tuple::from([key.clone(), value.get_item(&key)?])));
    let pairs = items(state, value)?.into_iter().map(pair).collect::<Result<_>>()?;
    let keys = Keys::new(Some(by.into()), false, case_sensitive)?;
    Ok(values(keys.sorted(state, pairs, is_true(reverse))?))
}
