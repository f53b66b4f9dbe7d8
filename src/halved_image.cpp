// A camera's picture at half its size as a network takes it: each pixel the mean of four, less the mean, by the deviation.
//
// image   (h, w, 3) uint8, h and w even
// result  (h / 2, w / 2, 3) float

#include <vector>

#include "vectors.hpp"

namespace {

constexpr int64_t COLOURS = 3;

struct Affine {
  float scale[COLOURS], offset[COLOURS];
};

struct HalvedImage {
  int64_t width;  // of the image
  const uint8_t* image;
  Affine affine;
  float* result;

  template <Cpu>
  ALWAYS_INLINE void compute(int64_t first_row, int64_t end_row) const {
    const int64_t row_length = width * COLOURS;
    std::vector<uint16_t> sums(row_length);
    for (int64_t row = first_row; row < end_row; ++row) {
      const uint8_t* upper = image + 2 * row * row_length;
      uint16_t* sum = sums.data();
      for (int64_t index = 0; index < row_length; ++index) sum[index] = upper[index] + upper[index + row_length];
      halve(sum, result + row * row_length / 2);
    }
  }

  // Neighbouring pixels of two rows' sums.
  ALWAYS_INLINE void halve(const uint16_t* sum, float* target) const {
    for (int64_t pixel = 0; pixel < width / 2; ++pixel) {
#pragma GCC unroll 3
      for (int64_t colour = 0; colour < COLOURS; ++colour) {
        const int32_t four = sum[2 * pixel * COLOURS + colour] + sum[(2 * pixel + 1) * COLOURS + colour];
        target[pixel * COLOURS + colour] = affine.scale[colour] * static_cast<float>(four) + affine.offset[colour];
      }
    }
  }
};

}  // namespace

// `mean` and `deviation` are of the three colours.
extern "C" __attribute__((visibility("default"))) void halve_image(
    const uint8_t* image, int64_t height, int64_t width, const float* mean, const float* deviation, float* result,
    int thread_count) {
  Affine affine;
  for (int64_t colour = 0; colour < COLOURS; ++colour) {
    affine.scale[colour] = 0.25f / deviation[colour];
    affine.offset[colour] = -mean[colour] / deviation[colour];
  }
  parallel_rows(height / 2, thread_count, HalvedImage{width, image, affine, result});
}
