/* fuzz_shim MILLISECONDS SEED: what the CNI plugin reads, changed at random, under sanitizers.

   Each input lies in memory of its own size, so that one byte read too far is found. Prints the
   number of inputs; aborts where an answer that is taken for whole reaches beyond what came. */

#define main shim_main
#include "../../nodeagent/cni-shim/shim.c"
#undef main

static unsigned long long state;

static unsigned random_below(unsigned bound) {
    state ^= state << 13; /* xorshift64 (Marsaglia 2003) */
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 33) % bound;
}

static const char *const examples[] = {
    "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"ips\": []}\n",
    "HTTP/1.1 422 \r\ncontent-length:2\r\n\r\n{}", "HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.",
    "HTTP/1.0 500 \r\nContent-Length: 99999999\r\n\r\n", "\r\n\r\n", "",
    "{\"cniVersion\": \"1.1.0\", \"name\": \"podnet\"}", "{\"cniVersion\" : \"0.3.1", "\"cniVersion\"",
    "{\"cniVersion\":1}", "{\"cniVersion\": \"1.0.0.0.0.0.0.0.0.0.0\"}"};
static const char *const words[] = {
    "\r\n", "\r\n\r\n", "Content-Length:", "content-length: ", "4294967297", "-1", " ", "\t", "0",
    "HTTP/1.0 ", "\"cniVersion\"", ":", "\"", "\\", "\x7f", "\xff"};

int main(int argc, char **argv) {
    char text[512];
    unsigned long long inputs = 0;
    if (argc < 3)
        return 2;
    end_after(atoll(argv[1]));
    state = (unsigned long long)atoll(argv[2]) * 2654435761u + 1;
    for (; inputs % 256 || left(); inputs++) {
        const char *example = examples[random_below(sizeof examples / sizeof *examples)];
        size_t bytes = strlen(example);
        memcpy(text, example, bytes);
        for (unsigned changes = random_below(6); changes > 0; changes--) {
            const char *word = words[random_below(sizeof words / sizeof *words)];
            size_t at = random_below((unsigned)bytes + 1), more = strlen(word);
            if (random_below(3) == 0) {
                bytes = at; /* cut */
            } else if (random_below(2) && at < bytes) {
                text[at] = (char)random_below(256);
            } else if (bytes + more < sizeof text) {
                memmove(text + at + more, text + at, bytes - at);
                memcpy(text + at, word, more);
                bytes += more;
            }
        }
        char *exact = malloc(bytes ? bytes : 1), *value = malloc(bytes + 1);
        memcpy(exact, text, bytes);
        memcpy(value, text, bytes);
        value[bytes] = '\0';
        struct answer answer = {0, exact, 0};
        if (parse_answer(exact, bytes, &answer) == 1 &&
            (answer.body < exact || answer.body + answer.bytes > exact + bytes ||
             answer.status < 0 || answer.status > 999))
            abort();
        const char *version = version_of(exact, bytes);
        if (strlen(version) > 15 || strspn(version, "0123456789.") != strlen(version))
            abort();
        is_plain(value);
        free(exact);
        free(value);
    }
    printf("%llu\n", inputs);
    return 0;
}
