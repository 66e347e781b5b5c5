//! Handles with generations: C never holds an address. A handle is a number in the form of a
//! pointer: a generation, a tag of this copy of the library, a slot in a table, and the kind of its
//! object. Every call looks it up, so a handle that was freed, freed twice, is of another kind, of
//! another copy of the library, or was made up gives a status and not undefined behaviour.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::cast;
use crate::status::{CallFailure, OllmStatus, Result};

/// Set in every handle, and in no address of a user's process where pointers have 64 bits.
const MARK: usize = 1 << (usize::BITS - 1);

/// From the lowest bit on: the kind, the slot, the tag, the generation, and the mark.
const KIND_BITS: u32 = 4;
const SLOT_BITS: u32 = if usize::BITS == 64 { 20 } else { 12 };
const TAG_BITS: u32 = if usize::BITS == 64 { 16 } else { 5 };
const GENERATION_BITS: u32 = usize::BITS - 1 - KIND_BITS - SLOT_BITS - TAG_BITS;

const MAX_SLOTS: usize = 1 << SLOT_BITS;
const MAX_GENERATION: usize = (1 << GENERATION_BITS) - 1;

/// A random number that tells this copy of the library from others in the process, such as that of
/// a plugin of the application.
fn tag() -> usize {
    static TAG: OnceLock<usize> = OnceLock::new();
    *TAG.get_or_init(|| RandomState::new().hash_one(()) as usize % (1 << TAG_BITS))
}

/// What a handle can name. Each kind has a table of its own.
pub(crate) trait Named: Sized + Send + Sync + 'static {
    /// Tells the kinds apart, below 16.
    const KIND: usize;
    /// The name in messages.
    const NAME: &'static str;
    /// Where the values live.
    fn table() -> &'static HandleTable<Self>;
}

/// All values of one kind that are alive.
pub(crate) struct HandleTable<T>(Mutex<Slots<T>>);

struct Slots<T> {
    slots: Vec<HandleSlot<T>>,
    free: Vec<usize>,
}

struct HandleSlot<T> {
    /// Grows each time that the slot is reused.
    generation: usize,
    value: Option<Arc<T>>,
    /// How often the handle has to be released.
    owners: usize,
}

impl<T: Named> HandleTable<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Slots { slots: Vec::new(), free: Vec::new() }))
    }

    /// A handle that names `value` until it is released.
    pub(crate) fn insert(&self, value: T) -> Result<*mut T> {
        self.locked(|slots| slots.insert(Arc::new(value)))
    }

    /// What `handle` names.
    pub(crate) fn get(&self, handle: *const T) -> Result<Arc<T>> {
        self.locked(|slots| slots.find(handle)?.value.clone().ok_or_else(|| dead::<T>()))
    }

    /// Adds an owner: `handle` has to be released once more.
    pub(crate) fn retain(&self, handle: *const T) -> Result<()> {
        self.locked(|slots| {
            let slot = slots.find(handle)?;
            slot.owners = slot.owners.checked_add(1).ok_or_else(|| CallFailure::argument("too many owners"))?;
            Ok(())
        })
    }

    /// Gives up one owner. With the last one the handle is dead, and the value comes out, to be
    /// dropped by the caller.
    pub(crate) fn release(&self, handle: *const T) -> Result<Option<Arc<T>>> {
        self.locked(|slots| slots.release(handle))
    }

    /// Releases the handle at `place` and makes it NULL there. NULL, and a place of NULL, are
    /// nothing to release.
    ///
    /// # Safety
    /// `place` is NULL or points to a handle.
    pub(crate) unsafe fn release_at(&self, place: *mut *mut T) -> Result<Option<Arc<T>>> {
        // SAFETY: the same contract.
        let handle = unsafe { cast::handle_at(place) }?;
        if handle.is_null() {
            return Ok(None);
        }
        let value = self.release(handle)?;
        // SAFETY: a handle came from there.
        unsafe { place.write(std::ptr::null_mut()) };
        Ok(value)
    }

    fn locked<R>(&self, work: impl FnOnce(&mut Slots<T>) -> R) -> R {
        // Nothing panics under the lock, so a poisoned table is still a whole one.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Named> Slots<T> {
    fn insert(&mut self, value: Arc<T>) -> Result<*mut T> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.grow()?,
        };
        let slot = &mut self.slots[index];
        (slot.value, slot.owners) = (Some(value), 1);
        Ok(encode(T::KIND, index, slot.generation))
    }

    fn grow(&mut self) -> Result<usize> {
        let index = self.slots.len();
        let room = self.slots.try_reserve(1).is_ok() && self.free.try_reserve(index + 1).is_ok();
        if !room || index == MAX_SLOTS {
            return Err(CallFailure::new(
                OllmStatus::OutOfMemory,
                format!("there is no room for one more {}", T::NAME),
            ));
        }
        self.slots.push(HandleSlot { generation: 0, value: None, owners: 0 });
        Ok(index)
    }

    fn find(&mut self, handle: *const T) -> Result<&mut HandleSlot<T>> {
        let (kind, index, generation) = decode(handle)?;
        let slot = self.slots.get_mut(index).filter(|_| kind == T::KIND);
        slot.filter(|slot| slot.generation == generation && slot.value.is_some()).ok_or_else(|| dead::<T>())
    }

    fn release(&mut self, handle: *const T) -> Result<Option<Arc<T>>> {
        let slot = self.find(handle)?;
        slot.owners -= 1;
        if slot.owners > 0 {
            return Ok(None);
        }
        let value = slot.value.take();
        // A slot whose generations are used up stays empty: its old handles must never come back to
        // life.
        if slot.generation < MAX_GENERATION {
            slot.generation += 1;
            let (_, index, _) = decode(handle)?;
            self.free.push(index);
        }
        Ok(value)
    }
}

fn encode<T>(kind: usize, index: usize, generation: usize) -> *mut T {
    let place = (generation << TAG_BITS | tag()) << SLOT_BITS | index;
    std::ptr::without_provenance_mut(MARK | place << KIND_BITS | kind)
}

/// Kind, slot and generation of a handle of this copy of the library.
fn decode<T: Named>(handle: *const T) -> Result<(usize, usize, usize)> {
    let mut bits = handle.addr();
    if bits == 0 {
        return Err(CallFailure::argument(format!("the {} is NULL", T::NAME)));
    }
    let marked = bits & MARK != 0;
    bits &= !MARK;
    let [kind, index, of] = [KIND_BITS, SLOT_BITS, TAG_BITS].map(|count| {
        let field = bits & ((1 << count) - 1);
        bits >>= count;
        field
    });
    if marked && of == tag() { Ok((kind, index, bits)) } else { Err(dead::<T>()) }
}

fn dead<T: Named>() -> CallFailure {
    CallFailure::new(OllmStatus::InvalidHandle, format!("this is no {} that is alive: was it freed?", T::NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing(u32);
    struct Other;
    static THINGS: HandleTable<Thing> = HandleTable::new();
    static OTHERS: HandleTable<Other> = HandleTable::new();

    impl Named for Thing {
        const KIND: usize = 2;
        const NAME: &'static str = "thing";
        fn table() -> &'static HandleTable<Self> {
            &THINGS
        }
    }

    impl Named for Other {
        const KIND: usize = 3;
        const NAME: &'static str = "other";
        fn table() -> &'static HandleTable<Self> {
            &OTHERS
        }
    }

    fn status<T>(result: Result<T>) -> Option<OllmStatus> {
        result.err().map(|failure| failure.status)
    }

    #[test]
    fn a_handle_lives_until_its_last_release() {
        let table = HandleTable::new();
        let handle = table.insert(Thing(7)).unwrap();
        table.retain(handle).unwrap();
        assert!(table.release(handle).unwrap().is_none());
        assert_eq!(table.get(handle).unwrap().0, 7);
        assert!(table.release(handle).unwrap().is_some());
        for dead in [status(table.get(handle)), status(table.retain(handle)), status(table.release(handle))] {
            assert_eq!(dead, Some(OllmStatus::InvalidHandle));
        }
    }

    #[test]
    fn a_slot_that_is_used_again_does_not_revive_old_handles() {
        let table = HandleTable::new();
        let old = table.insert(Thing(1)).unwrap();
        table.release(old).unwrap();
        let new = table.insert(Thing(2)).unwrap();
        assert_ne!(old, new);
        assert_eq!(status(table.get(old)), Some(OllmStatus::InvalidHandle));
        assert_eq!(table.get(new).unwrap().0, 2);
    }

    #[test]
    fn what_is_no_handle_is_refused() {
        let table = HandleTable::new();
        let thing: *mut Thing = table.insert(Thing(1)).unwrap();
        let others = HandleTable::<Other>::new();
        others.insert(Other).unwrap();
        assert_eq!(status(others.get(thing.cast())), Some(OllmStatus::InvalidHandle));
        assert_eq!(status(table.get(std::ptr::null())), Some(OllmStatus::InvalidArgument));
        let mut bits = 1_usize;
        for _ in 0..10_000 {
            bits = bits
                .wrapping_mul(6_364_136_223_846_793_005_u64 as usize)
                .wrapping_add(1_442_695_040_888_963_407_u64 as usize);
            let made_up = std::ptr::without_provenance(bits);
            assert!(made_up == thing.cast_const() || table.get(made_up).is_err());
        }
    }
}
