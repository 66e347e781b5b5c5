// A conversation, a line a turn. usage: chat MODEL.gguf [PLUGIN.gguf]
#include <ollm.hpp>

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

// Feeds a conversation; what the session has seen already is not computed again.
static void feed(ollm::session &session, const std::vector<std::uint32_t> &tokens) {
    std::vector<std::uint32_t> seen = session.tokens();
    auto shared = std::mismatch(seen.begin(), seen.end(), tokens.begin(), tokens.end()).second;
    session.rewind(std::size_t(shared - tokens.begin()));
    session.feed(std::vector<std::uint32_t>(shared, tokens.end()));
}

int main(int argc, char **argv) try {
    ollm::model model = ollm::model::load(ollm::source::file(argc > 1 ? argv[1] : "model.gguf"));
    ollm::plugin plugin;
    if (argc > 2) plugin = ollm::plugin::load(model, ollm::source::file(argv[2]));
    ollm::session session = ollm::session::make(model, plugin);

    std::vector<std::pair<std::string, std::string>> turns;
    for (std::string line; std::cout << "> " << std::flush && std::getline(std::cin, line);) {
        turns.emplace_back("user", line);
        std::vector<ollm::message> messages;
        for (const auto &[role, content] : turns) messages.push_back({role, content});
        feed(session, model.tokenize(model.chat_text(messages), OLLM_TOKENIZE_SPECIAL));

        std::string answer;
        for (const ollm::token &token : session.steps(256)) {
            answer += token.text();
            std::cout << token.text() << std::flush;
        }
        std::cout << "\n";
        turns.emplace_back("assistant", answer);
    }
    return 0;
} catch (const ollm::error &error) {
    std::cerr << error.what() << "\n";
    return 1;
}
