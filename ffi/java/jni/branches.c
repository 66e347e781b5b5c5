/* The native methods of branches, their search, and suggestions. */
#include "callbacks.h"
#include "structs.h"

NATIVE(jlong, newBranches)(JNI, jlong session, jobject options, jint choose) {
    const ollm_branch_options *branch_options;
    ollm_branches *branches = NULL;
    ENTER;
    branch_options = branch_options_in(f, options, choose);
    (void)CALL(f, ollm_branches_new(HANDLE(session, session), branch_options, &branches));
    LEAVE;
    return NUMBER(branches);
}

FREES(freeBranches, branches, ollm_branches_free)
PLAIN(cancelBranches, branches, ollm_branches_cancel)
PLAIN(withdrawCancelBranches, branches, ollm_branches_withdraw_cancel)
COUNTS(stepBranches, branches, ollm_branches_step)
COUNTS(countBranches, branches, ollm_branches_count)

NATIVE(void, expandBranch)(JNI, jlong branches, jint branch, jobject expansion) {
    const ollm_expansion *into;
    size_t index;
    ENTER;
    index = size_in(f, branch, "branch");
    into = expansion_in(f, expansion);
    (void)CALL(f, ollm_branches_expand(HANDLE(branches, branches), index, into));
    LEAVE;
}

NATIVE(void, pruneBranch)(JNI, jlong branches, jint branch) {
    size_t index;
    ENTER;
    index = size_in(f, branch, "branch");
    (void)CALL(f, ollm_branches_prune(HANDLE(branches, branches), index));
    LEAVE;
}

NATIVE(jobject, getBranch)(JNI, jlong branches, jint branch) {
    ollm_branch seen = ollm_branch_init();
    jobject made = NULL;
    size_t index;
    ENTER;
    index = size_in(f, branch, "branch");
    if (CALL(f, ollm_branches_get(HANDLE(branches, branches), index, &seen))) made = branch_out(f, &seen);
    LEAVE;
    return made;
}

NATIVE(void, adopt)(JNI, jlong session, jlong branches, jint branch) {
    size_t index;
    ENTER;
    index = size_in(f, branch, "branch");
    (void)CALL(f, ollm_branches_adopt(HANDLE(branches, branches), index, HANDLE(session, session)));
    LEAVE;
}

NATIVE(jobject, searchBranches)(JNI, jlong branches, jobject options, jobject watcher) {
    ollm_found found = ollm_found_init();
    const ollm_search_options *search;
    jobject made = NULL;
    ENTER;
    search = search_options_in(f, options, watcher);
    if (CALL(f, ollm_branches_run(HANDLE(branches, branches), search, &found))) made = found_out(f, &found);
    LEAVE;
    return made;
}

NATIVE(jobject, voteBranches)(JNI, jlong branches, jobject options) {
    ollm_found found = ollm_found_init();
    const ollm_tally *tally;
    jobject made = NULL;
    ENTER;
    tally = tally_in(f, options);
    if (CALL(f, ollm_branches_vote(HANDLE(branches, branches), tally, &found))) made = found_out(f, &found);
    LEAVE;
    return made;
}

static jobject suggested_out(struct frame *f, void *all, size_t i) {
    ollm_suggestion one = ollm_suggestion_init();
    return CALL(f, ollm_suggestions_get(all, i, &one)) ? suggestion_out(f, &one) : NULL;
}

NATIVE(jobjectArray, suggest)(JNI, jlong session, jobject options) {
    const ollm_suggest_options *suggest;
    ollm_suggestions *suggestions = NULL;
    jobjectArray made = NULL;
    size_t count = 0;
    ENTER;
    suggest = suggest_options_in(f, options);
    if (CALL(f, ollm_session_suggest(HANDLE(session, session), suggest, &suggestions)) &&
        CALL(f, ollm_suggestions_count(suggestions, &count))) {
        made = array_out(f, "org/ollm/Suggestion", count, suggested_out, suggestions);
    }
    ollm_suggestions_free(&suggestions);
    LEAVE;
    return made;
}
