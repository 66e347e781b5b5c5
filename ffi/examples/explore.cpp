// What each option would have said: forks a session over all latents and lets each go its own way.
// usage: explore MODEL.gguf PLUGIN.gguf [TEXT]
#include <ollm.hpp>

#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

int main(int argc, char **argv) try {
    ollm::model model = ollm::model::load(ollm::source::file(argc > 1 ? argv[1] : "model.gguf"));
    ollm::plugin plugin = ollm::plugin::load(model, ollm::source::file(argc > 2 ? argv[2] : "plugin.gguf"));
    ollm::session session = ollm::session::make(model, plugin);
    session.feed(argc > 3 ? argv[3] : "Two plus two is", OLLM_TOKENIZE_BOS);

    std::vector<float> policy = session.option_set(0).policy();
    for (std::uint32_t latent = 0; latent < policy.size(); latent++) {
        ollm::session fork = session.fork();  // shares the keys and values of the text so far
        ollm::selection selection;
        selection.mode = OLLM_SELECT_FIXED;
        selection.latents = &latent;
        selection.latent_count = 1;
        fork.set_selection(selection);

        std::string text;
        for (const ollm::token &token : fork.steps(24)) text += token.text();
        for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos;) text.replace(at, 1, "\\n");
        std::printf("%2u  %5.1f %%  %s\n", unsigned(latent), 100 * double(policy[latent]), text.c_str());
    }
    return 0;
} catch (const ollm::error &error) {
    std::cerr << error.what() << "\n";
    return 1;
}
