#include "entries.hpp"

#include <algorithm>
#include <cctype>

namespace simt {

namespace {

// Walks over C++ text, past strings, comments (preprocessing has left none) and line markers.
class Scanner {
public:
    explicit Scanner(std::string& text) : text_(text) {}

    // The next word, string or single character; false at the end.
    bool next(std::string& token, std::size_t& start) {
        while (at_ < text_.size()) {
            const char c = text_[at_];
            if (c == '#' && line_start()) {
                while (at_ < text_.size() && text_[at_] != '\n') at_++;
            } else if (std::isspace(static_cast<unsigned char>(c))) {
                at_++;
            } else {
                break;
            }
        }
        if (at_ >= text_.size()) return false;
        start = at_;
        const char c = text_[at_];
        if (word(c)) {
            while (at_ < text_.size() && word(text_[at_])) at_++;
        } else if (c == '"' || c == '\'') {
            for (at_++; at_ < text_.size() && text_[at_] != c; at_++)
                if (text_[at_] == '\\') at_++;
            if (at_ < text_.size()) at_++;
        } else {
            at_++;
        }
        token = text_.substr(start, at_ - start);
        return true;
    }

    // The text between the parenthesis that comes next and its partner.
    std::string parenthesised() {
        std::string token;
        std::size_t start;
        if (!next(token, start) || token != "(") return "";
        const std::size_t first = at_;
        for (int depth = 1; depth > 0;) {
            if (!next(token, start)) return "";
            depth += token == "(" ? 1 : token == ")" ? -1 : 0;
        }
        return text_.substr(first, start - first);
    }

    std::size_t position() const { return at_; }

    void blank(std::size_t from, std::size_t to) {
        for (; from < to; from++)
            if (text_[from] != '\n') text_[from] = ' ';
    }

private:
    static bool word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }
    bool line_start() const { return at_ == 0 || text_[at_ - 1] == '\n'; }

    std::string& text_;
    std::size_t at_ = 0;
};

}  // namespace

std::vector<EntryPoint> find_entry_points(std::string& source) {
    std::vector<EntryPoint> entries;
    Scanner scanner(source);
    std::string token, before, second_before;
    std::size_t start = 0;
    bool in_declaration = false, is_c = false;
    EntryPoint entry;
    while (scanner.next(token, start)) {
        if (token == "__global__") {
            in_declaration = true;
            is_c = before == "\"C\"" && second_before == "extern";
            entry = EntryPoint{};
            scanner.blank(start, scanner.position());
        } else if (token == "__launch_bounds__") {
            entry.bounds = scanner.parenthesised();
            scanner.blank(start, scanner.position());
        } else if (in_declaration && token == "__attribute__") {
            scanner.parenthesised();
        } else if (in_declaration && token == "(") {
            entry.name = before;
            in_declaration = false;
            const bool known = std::any_of(entries.begin(), entries.end(), [&](const EntryPoint& other) { return other.name == entry.name; });
            if (is_c && !known) entries.push_back(entry);
            entry = EntryPoint{};
        }
        second_before = before;
        before = token;
    }
    return entries;
}

std::string entry_table(const std::vector<EntryPoint>& entries) {
    std::string table = "\n# 1 \"entry points\"\n#pragma GCC visibility push(default)\nextern \"C\" {\n";
    table += "extern const unsigned long simt_entry_count = " + std::to_string(entries.size()) + ";\n";
    table += "extern const simt::EntryRow simt_entries[] = {\n";
    for (const EntryPoint& entry : entries) {
        const std::string type = "simt::Entry<decltype(&" + entry.name + ")>";
        table += "    {\"" + entry.name + "\", &" + type + "::invoke<&" + entry.name + ">, " + type + "::bytes, " + type + "::count, simt::first(" +
                 (entry.bounds.empty() ? "0" : entry.bounds) + ")},\n";
    }
    return table + "    {nullptr, nullptr, nullptr, 0, 0}};\n}\n#pragma GCC visibility pop\n";
}

}  // namespace simt
