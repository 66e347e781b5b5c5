//! The calls of branches: grown, searched, read and adopted.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use ollm::{
    OllmBranch, OllmBranchOptions, OllmBranches, OllmExpansion, OllmFound, OllmSearchOptions, OllmSelection,
    OllmStatus, OllmTally, OllmText, ollm_branches_adopt, ollm_branches_cancel, ollm_branches_count,
    ollm_branches_expand, ollm_branches_free, ollm_branches_get, ollm_branches_new, ollm_branches_prune,
    ollm_branches_run, ollm_branches_step, ollm_branches_vote, ollm_branches_withdraw_cancel,
};

use super::{World, zeroed};

/// A callback that ends a search after some steps, and calls back.
unsafe extern "C" fn watch(user: *mut c_void, shown: *const *const OllmBranch, count: usize) -> i32 {
    let mut all = 0;
    // SAFETY: the output is a variable.
    let status = unsafe { ollm_branches_count(user.cast(), &raw mut all) };
    assert_eq!(status, OllmStatus::Busy);
    // SAFETY: there are as many branches as said.
    let last = unsafe { **shown.add(count - 1) };
    check_branch(&last);
    i32::from(last.token_count > 3)
}

/// What the library says of a branch is so.
fn check_branch(branch: &OllmBranch) {
    // SAFETY: text and arrays stay until the branches change.
    let (text, tokens) = unsafe {
        let text = std::slice::from_raw_parts(branch.text.cast::<u8>(), branch.text_length);
        let tokens =
            if branch.token_count == 0 { &[] } else { std::slice::from_raw_parts(branch.tokens, branch.token_count) };
        (text, tokens)
    };
    assert!(std::str::from_utf8(text).is_ok() && tokens.iter().all(|&token| token < 320) && branch.count > 0.0);
}

unsafe extern "C" fn answer(_: *mut c_void, text: OllmText, answer: *mut OllmText) {
    let length = text.length.min(2);
    // SAFETY: the output is the library's. Part of a character is no text, which is a status.
    unsafe { answer.write(OllmText { data: text.data, length }) };
}

impl World<'_> {
    fn set_of_branches(&mut self) -> *mut OllmBranches {
        Self::pick(&mut self.bytes, &self.branches)
    }

    pub(super) fn new_branches(&mut self) -> OllmStatus {
        let mut options = zeroed!(OllmBranchOptions);
        options.limit = self.bytes.below(12);
        let stop = OllmText { data: c"e".as_ptr(), length: self.bytes.below(2) };
        (options.stops, options.stop_count) = (&raw const stop, self.bytes.below(2));
        let mut selection = zeroed!(OllmSelection);
        // SAFETY: the fields are numbers to C, which may set any.
        unsafe {
            selection.mode.as_mut_ptr().cast::<i32>().write(self.bytes.below(9) as i32);
            selection.hold.as_mut_ptr().cast::<i32>().write(self.bytes.below(6) as i32);
        }
        options.selection = if self.bytes.below(2) == 0 { null() } else { &raw const selection };
        let mut branches = null_mut();
        // SAFETY: options and output are variables; so below.
        let status = unsafe { ollm_branches_new(self.session(), &raw const options, &raw mut branches) };
        if status == OllmStatus::Ok {
            self.branches.push(branches);
        }
        status
    }

    fn expansion(&mut self) -> OllmExpansion {
        let mut expansion = zeroed!(OllmExpansion);
        let kind = self.bytes.below(6);
        expansion.count = if kind == 0 { self.bytes.below(2) } else { self.bytes.number() };
        expansion.temperature = if kind == 4 { f32::from(self.bytes.next()) / 100.0 - 0.1 } else { 0.0 };
        // SAFETY: the field is a number to C.
        unsafe { expansion.kind.as_mut_ptr().cast::<i32>().write(kind as i32) };
        // More than some take long.
        expansion.count = if expansion.count > 40 && expansion.count <= 4096 { 40 } else { expansion.count };
        expansion
    }

    pub(super) fn expand(&mut self) -> OllmStatus {
        let (branches, branch, expansion) = (self.set_of_branches(), self.bytes.below(4), self.expansion());
        // SAFETY: as above.
        unsafe { ollm_branches_expand(branches, branch, &raw const expansion) }
    }

    pub(super) fn step_branches(&mut self) -> OllmStatus {
        let (branches, mut advanced) = (self.set_of_branches(), 0);
        match self.bytes.below(8) {
            0 => ollm_branches_prune(branches, self.bytes.below(4)),
            1 => ollm_branches_cancel(branches),
            2 => ollm_branches_withdraw_cancel(branches),
            // SAFETY: as above.
            _ => unsafe { ollm_branches_step(branches, &raw mut advanced) },
        }
    }

    pub(super) fn read_branches(&mut self) -> OllmStatus {
        let mut branches = self.set_of_branches();
        let (mut branch, mut count, index) = (zeroed!(OllmBranch), 0, self.bytes.below(12));
        // SAFETY: as above.
        unsafe {
            if self.bytes.below(8) == 0 {
                return ollm_branches_free(&raw mut branches);
            }
            ollm_branches_count(branches, &raw mut count);
            let status = ollm_branches_get(branches, index, &raw mut branch);
            if status == OllmStatus::Ok {
                assert!(index < count);
                check_branch(&branch);
            }
            status
        }
    }

    pub(super) fn search(&mut self) -> OllmStatus {
        let (branches, expansion) = (self.set_of_branches(), self.expansion());
        let (mut tally, mut found) = (zeroed!(OllmTally), zeroed!(OllmFound));
        match self.bytes.below(4) {
            0 => tally.answer = Some(answer),
            1 => (tally.rule, tally.rule_length) = (c"text".as_ptr(), 3 + self.bytes.below(2)),
            2 => (tally.rule, tally.rule_length) = (c"regex:(e)".as_ptr(), 6 + self.bytes.below(4)),
            _ => {}
        }
        let mut options = zeroed!(OllmSearchOptions);
        (options.expansion, options.tally) = (&raw const expansion, &raw const tally);
        options.width = self.bytes.below(4);
        options.each = Some(watch);
        options.user = branches.cast();
        // SAFETY: the fields are numbers to C; else as above.
        unsafe {
            options.strategy.as_mut_ptr().cast::<i32>().write(self.bytes.below(4) as i32);
            tally.weight.as_mut_ptr().cast::<i32>().write(self.bytes.below(3) as i32);
            tally.score.as_mut_ptr().cast::<i32>().write(self.bytes.below(4) as i32);
            match self.bytes.below(3) {
                0 => ollm_branches_vote(branches, &raw const tally, &raw mut found),
                _ => ollm_branches_run(branches, &raw const options, &raw mut found),
            }
        }
    }

    pub(super) fn adopt(&mut self) -> OllmStatus {
        ollm_branches_adopt(self.set_of_branches(), self.bytes.below(4), self.session())
    }
}
