// The lists of the fields of both kinds of records, in file order. Reading, writing and the check of the schema page
// use them. visit(name, field) is called once per field.
#pragma once

#include <concepts>
#include <type_traits>

#include "records/derive.h"
#include "records/external.h"
#include "records/record.h"

namespace marlin {

template <class T, class U>
concept ConstOrNot = std::same_as<std::remove_const_t<T>, U>;

void VisitFields(auto& visit, ConstOrNot<record::Program> auto& x) {
  visit("version", x.version);
  visit("commit", x.commit);
  visit("compiler", x.compiler);
  visit("flags", x.flags);
  visit("binary_sha256", x.binary_sha256);
}

void VisitFields(auto& visit, ConstOrNot<record::Machine> auto& x) {
  visit("cpu", x.cpu);
  visit("cores", x.cores);
  visit("threads", x.threads);
  visit("isa_available", x.isa_available);
  visit("isa", x.isa);
  visit("activations", x.activations);
  visit("device", x.device);
  visit("memory_bytes", x.memory_bytes);
  visit("os", x.os);
  visit("affinity", x.affinity);
  visit("load_before", x.load_before);
  visit("load_after", x.load_after);
  visit("clock_mhz_before", x.clock_mhz_before);
  visit("clock_mhz_after", x.clock_mhz_after);
}

void VisitFields(auto& visit, ConstOrNot<record::Model> auto& x) {
  visit("name", x.name);
  visit("source_type", x.source_type);
  visit("container", x.container);
  visit("sha256", x.sha256);
  visit("source_bytes", x.source_bytes);
  visit("parameters", x.parameters);
  visit("architecture", x.architecture);
  visit("accepted_unknown", x.accepted_unknown);
}

void VisitFields(auto& visit, ConstOrNot<record::Calibration> auto& x) {
  visit("name", x.name);
  visit("sha256", x.sha256);
  visit("windows", x.windows);
  visit("ctx", x.ctx);
}

void VisitFields(auto& visit, ConstOrNot<record::Config> auto& x) {
  visit("id", x.id);
  visit("kind", x.kind);
  visit("display_name", x.display_name);
  visit("label", x.label);
  visit("group", x.group);
  visit("bits", x.bits);
  visit("method", x.method);
  visit("method_versions", x.method_versions);
  visit("calibration", x.calibration);
  visit("plan_sha256", x.plan_sha256);
  visit("budget_bytes", x.budget_bytes);
  visit("import_sha256", x.import_sha256);
  visit("quantized_embeddings", x.quantized_embeddings);
  visit("quantized_head", x.quantized_head);
  visit("same_grid_as_source", x.same_grid_as_source);
}

void VisitFields(auto& visit, ConstOrNot<record::PlanUnit> auto& x) {
  visit("layer", x.layer);
  visit("name", x.name);
  visit("format", x.format);
  visit("bytes", x.bytes);
  visit("kl", x.kl);
  visit("probe_kl", x.probe_kl);
}

void VisitFields(auto& visit, ConstOrNot<record::Plan> auto& x) {
  visit("text", x.text);
  visit("method", x.method);
  visit("probe", x.probe);
  visit("units", x.units);
}

void VisitFields(auto& visit, ConstOrNot<record::Size> auto& x) {
  visit("fp16_bytes", x.fp16_bytes);
  visit("model_bytes", x.model_bytes);
  visit("quantized_parameters", x.quantized_parameters);
  visit("quantized_tensor_bytes", x.quantized_tensor_bytes);
  visit("peak_rss_decode_bytes", x.peak_rss_decode_bytes);
  visit("peak_device_decode_bytes", x.peak_device_decode_bytes);
}

void VisitFields(auto& visit, ConstOrNot<record::Session> auto& x) {
  visit("max_context", x.max_context);
  visit("cache_bytes_per_position", x.cache_bytes_per_position);
  visit("work_bytes_per_position", x.work_bytes_per_position);
}

void VisitFields(auto& visit, ConstOrNot<record::Text> auto& x) {
  visit("name", x.name);
  visit("sha256", x.sha256);
  visit("standard", x.standard);
}

void VisitFields(auto& visit, ConstOrNot<record::HalfWindows> auto& x) {
  visit("protocol", x.protocol);
  visit("scored_per_window", x.scored_per_window);
  visit("window_nll", x.window_nll);
}

void VisitFields(auto& visit, ConstOrNot<record::Perplexity> auto& x) {
  visit("protocol", x.protocol);
  visit("metric_version", x.metric_version);
  visit("text", x.text);
  visit("tokenizer_sha256", x.tokenizer_sha256);
  visit("bos", x.bos);
  visit("ctx", x.ctx);
  visit("windows", x.windows);
  visit("windows_total", x.windows_total);
  visit("tokens", x.tokens);
  visit("scored_tokens", x.scored_tokens);
  visit("scored_bytes", x.scored_bytes);
  visit("scored_per_window", x.scored_per_window);
  visit("window_nll", x.window_nll);
  visit("half", x.half);
  visit("backend", x.backend);
  visit("arithmetic", x.arithmetic);
  visit("kernels", x.kernels);
  visit("seconds", x.seconds);
  visit("baseline_id", x.baseline_id);
}

void VisitFields(auto& visit, ConstOrNot<record::LogHistogram> auto& x) {
  visit("low", x.low);
  visit("per_decade", x.per_decade);
  visit("counts", x.counts);
}

void VisitFields(auto& visit, ConstOrNot<record::Divergence> auto& x) {
  visit("protocol", x.protocol);
  visit("metric_version", x.metric_version);
  visit("baseline_id", x.baseline_id);
  visit("windows", x.windows);
  visit("scored_per_window", x.scored_per_window);
  visit("window_kl", x.window_kl);
  visit("window_same_top", x.window_same_top);
  visit("window_change", x.window_change);
  visit("window_change_squared", x.window_change_squared);
  visit("kl_median", x.kl_median);
  visit("kl_p90", x.kl_p90);
  visit("kl_p99", x.kl_p99);
  visit("kl_p999", x.kl_p999);
  visit("kl_max", x.kl_max);
  visit("kl_histogram", x.kl_histogram);
}

void VisitFields(auto& visit, ConstOrNot<record::NoiseFloor> auto& x) {
  visit("protocol", x.protocol);
  visit("metric_version", x.metric_version);
  visit("kernels", x.kernels);
  visit("windows", x.windows);
  visit("scored_per_window", x.scored_per_window);
  visit("window_kl", x.window_kl);
  visit("window_same_top", x.window_same_top);
  visit("kl_max", x.kl_max);
  visit("baseline_id", x.baseline_id);
}

void VisitFields(auto& visit, ConstOrNot<record::TimingProtocol> auto& x) {
  visit("id", x.id);
  visit("warmup", x.warmup);
  visit("iterations", x.iterations);
  visit("trim_sigma", x.trim_sigma);
}

void VisitFields(auto& visit, ConstOrNot<record::Prefill> auto& x) {
  visit("tokens", x.tokens);
  visit("samples_ns", x.samples_ns);
}

void VisitFields(auto& visit, ConstOrNot<record::Decode> auto& x) {
  visit("prompt_tokens", x.prompt_tokens);
  visit("samples_ns", x.samples_ns);
  visit("protocol", x.protocol);
}

void VisitFields(auto& visit, ConstOrNot<record::Throughput> auto& x) {
  visit("protocol", x.protocol);
  visit("interleaved", x.interleaved);
  visit("run", x.run);
  visit("backend", x.backend);
  visit("arithmetic", x.arithmetic);
  visit("kernels", x.kernels);
  visit("prefill", x.prefill);
  visit("decode", x.decode);
}

void VisitFields(auto& visit, ConstOrNot<record::Kernel> auto& x) {
  visit("kernel", x.kernel);
  visit("format", x.format);
  visit("shape_set", x.shape_set);
  visit("m", x.m);
  visit("n", x.n);
  visit("k", x.k);
  visit("samples_ns", x.samples_ns);
  visit("flops", x.flops);
  visit("bytes_moved", x.bytes_moved);
  visit("max_relative_error", x.max_relative_error);
  visit("tolerance", x.tolerance);
  visit("checked_outputs", x.checked_outputs);
  visit("activations", x.activations);
  visit("in_cache", x.in_cache);
}

void VisitFields(auto& visit, ConstOrNot<record::Kernels> auto& x) {
  visit("protocol", x.protocol);
  visit("shapes", x.shapes);
}

void VisitFields(auto& visit, ConstOrNot<record::Limits> auto& x) {
  visit("read_gbps", x.read_gbps);
  visit("fma_gflops", x.fma_gflops);
  visit("fma_isa", x.fma_isa);
  visit("bf16_gflops", x.bf16_gflops);
  visit("int16_gops", x.int16_gops);
  visit("int8_gops", x.int8_gops);
}

void VisitFields(auto& visit, ConstOrNot<Record> auto& x) {
  visit("id", x.id);
  visit("key", x.key);
  visit("created", x.created);
  visit("command", x.command);
  visit("program", x.program);
  visit("machine", x.machine);
  visit("model", x.model);
  visit("config", x.config);
  visit("plan", x.plan);
  visit("size", x.size);
  visit("session", x.session);
  visit("perplexity", x.perplexity);
  visit("divergence", x.divergence);
  visit("noise_floor", x.noise_floor);
  visit("throughput", x.throughput);
  visit("kernels", x.kernels);
  visit("limits", x.limits);
}

void VisitFields(auto& visit, ConstOrNot<external::Program> auto& x) {
  visit("name", x.name);
  visit("version", x.version);
}

void VisitFields(auto& visit, ConstOrNot<external::Source> auto& x) {
  visit("file", x.file);
  visit("sha256", x.sha256);
}

void VisitFields(auto& visit, ConstOrNot<external::Model> auto& x) {
  visit("name", x.name);
  visit("description", x.description);
}

void VisitFields(auto& visit, ConstOrNot<external::Measurement> auto& x) {
  visit("what", x.what);
  visit("protocol", x.protocol);
  visit("value", x.value);
  visit("unit", x.unit);
  visit("error", x.error);
  visit("error_kind", x.error_kind);
  visit("samples", x.samples);
}

void VisitFields(auto& visit, ConstOrNot<ExternalRecord> auto& x) {
  visit("id", x.id);
  visit("key", x.key);
  visit("measured", x.measured);
  visit("command", x.command);
  visit("program", x.program);
  visit("source", x.source);
  visit("model", x.model);
  visit("machine", x.machine);
  visit("settings", x.settings);
  visit("measurements", x.measurements);
}

void VisitFields(auto& visit, ConstOrNot<RecordSummary> auto& x) {
  visit("perplexity", x.perplexity);
  visit("perplexity_half", x.perplexity_half);
  visit("bits_per_byte", x.bits_per_byte);
  visit("kl", x.kl);
  visit("same_top_percent", x.same_top_percent);
  visit("compression", x.compression);
  visit("quantized_compression", x.quantized_compression);
  visit("bits_per_weight", x.bits_per_weight);
  visit("prefill_tok_s", x.prefill_tok_s);
  visit("decode_tok_s", x.decode_tok_s);
}

}  // namespace marlin
