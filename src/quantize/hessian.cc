#include "quantize/hessian.h"

namespace marlin {

HessianDiagonal MeasureDiagonal(std::span<const double> elements) {
  HessianDiagonal diagonal;
  double sum = 0;
  for (const double element : elements) {
    sum += element;
    if (element == 0) ++diagonal.dead;
  }
  const std::size_t used = elements.size() - diagonal.dead;
  if (used > 0) diagonal.mean = sum / static_cast<double>(used);
  return diagonal;
}

std::vector<double> ElementsOfDiagonal(const InputStatistics& stats) {
  std::vector<double> elements(stats.channels());
  for (std::size_t i = 0; i < elements.size(); ++i) elements[i] = HessianAt(stats, i, i);
  return elements;
}

std::vector<float> DampedHessian(const InputStatistics& stats, double damping, ThreadPool& pool) {
  const std::size_t k = stats.channels();
  const HessianDiagonal diagonal = MeasureDiagonal(ElementsOfDiagonal(stats));
  std::vector<float> hessian(k * k);
  pool.Split(k, [&](std::size_t begin, std::size_t end, int) {
    for (std::size_t i = begin; i < end; ++i) {
      float* const row = hessian.data() + i * k;
      for (std::size_t j = 0; j < k; ++j) row[j] = static_cast<float>(HessianAt(stats, i, j));
      row[i] = static_cast<float>(DampedElement(HessianAt(stats, i, i), diagonal, damping));
    }
  });
  return hessian;
}

}  // namespace marlin
