// oneDNN's batch normalization, in the memory format that it likes best for the layout at hand.
#include <omp.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <unordered_map>

#include <oneapi/dnnl/dnnl.hpp>

namespace {

using dnnl::memory;

enum Operation { inference, train, backward };

struct Normalization {
    dnnl::engine engine{dnnl::engine::kind::cpu, 0};
    dnnl::stream stream{engine};
    dnnl::primitive primitive;
    std::unordered_map<int, memory> arguments;
    std::string implementation;
    int threads = 1;
    memory source, result, gradient;
};

void build(
    Normalization& self, int operation, const memory::desc& data, int64_t channels, float eps, float* statistics, float* parameters) {
    const memory::desc vector({channels}, memory::data_type::f32, memory::format_tag::a);
    const memory::desc pair({2, channels}, memory::data_type::f32, memory::format_tag::ab);
    const auto scaled = dnnl::normalization_flags::use_scale_shift;
    self.source = memory(data, self.engine, nullptr);
    self.result = memory(data, self.engine, nullptr);
    self.gradient = memory(data, self.engine, nullptr);
    self.arguments = {
        {DNNL_ARG_SRC, self.source},
        {DNNL_ARG_MEAN, memory(vector, self.engine, statistics)},
        {DNNL_ARG_VARIANCE, memory(vector, self.engine, statistics + channels)},
        {DNNL_ARG_SCALE_SHIFT, memory(pair, self.engine, parameters)},
    };
    const auto kind = operation == inference ? dnnl::prop_kind::forward_inference : dnnl::prop_kind::forward_training;
    const auto flags = operation == inference ? scaled | dnnl::normalization_flags::use_global_stats : scaled;
    const dnnl::batch_normalization_forward::primitive_desc forward({kind, data, eps, flags}, self.engine);
    if (operation != backward) {
        self.implementation = forward.impl_info_str();
        self.primitive = dnnl::batch_normalization_forward(forward);
        self.arguments.emplace(DNNL_ARG_DST, self.result);
        return;
    }
    const dnnl::batch_normalization_backward::primitive_desc descriptor(
        {dnnl::prop_kind::backward, data, data, eps, flags}, self.engine, forward);
    self.implementation = descriptor.impl_info_str();
    self.primitive = dnnl::batch_normalization_backward(descriptor);
    self.arguments.emplace(DNNL_ARG_DIFF_SRC, self.result);
    self.arguments.emplace(DNNL_ARG_DIFF_DST, self.gradient);
    self.arguments.emplace(DNNL_ARG_DIFF_SCALE_SHIFT, memory(pair, self.engine));
}

}  // namespace

extern "C" {

// statistics: mean, variance; parameters: gamma, beta; both stay where they are. Returns null where oneDNN refuses.
void* bench_dnn_create(
    int operation, int blocked, int threads, int64_t n, int64_t channels, int64_t height, int64_t width, float eps, float* statistics,
    float* parameters) {
    auto* self = new Normalization();
    try {
        self->threads = threads;
        omp_set_num_threads(threads);
        const memory::desc data(
            {n, channels, height, width}, memory::data_type::f32, blocked ? memory::format_tag::nChw16c : memory::format_tag::nhwc);
        build(*self, operation, data, channels, eps, statistics, parameters);
        return self;
    } catch (const dnnl::error& refusal) {
        std::fprintf(stderr, "oneDNN: %s\n", refusal.what());
        delete self;
        return nullptr;
    }
}

const char* bench_dnn_implementation(void* handle) { return static_cast<Normalization*>(handle)->implementation.c_str(); }

void bench_dnn_run(void* handle, float* x, float* dy, float* result) {
    auto* self = static_cast<Normalization*>(handle);
    omp_set_num_threads(self->threads);
    self->source.set_data_handle(x);
    self->result.set_data_handle(result);
    self->gradient.set_data_handle(dy);
    self->primitive.execute(self->stream, self->arguments);
    self->stream.wait();
}

void bench_dnn_destroy(void* handle) { delete static_cast<Normalization*>(handle); }
}
