// How fast simdjson reads the body of a JSON inference, {"x":{"shape":[...],"data":[...]}}, into floats.
#include <simdjson.h>

#include <cstddef>

namespace {

struct Body {
    Body(const char *json, size_t length) : text(json, length) {}

    simdjson::padded_string text;
    simdjson::ondemand::parser parser;
};

}  // namespace

extern "C" {

// simdjson reads past the end of its text: the copy has room for that. It is made once, its cost is not charged.
Body *bench_simdjson_load(const char *json, size_t length) {
    return new Body(json, length);
}

// Returns how many numbers "data" has, or -1 where that is more than capacity or the body is another one.
ptrdiff_t bench_simdjson_read(Body *body, float *values, ptrdiff_t capacity) {
    ptrdiff_t count = 0;
    try {
        simdjson::ondemand::document document = body->parser.iterate(body->text);
        for (double value : document["x"]["data"].get_array()) {
            if (count == capacity) return -1;
            values[count++] = static_cast<float>(value);
        }
        return count;
    } catch (const simdjson::simdjson_error &) {
        return -1;
    }
}

void bench_simdjson_free(Body *body) { delete body; }

}  // extern "C"
