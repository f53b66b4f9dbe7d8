// Steps of Adam on a perceptron with one hidden layer and softmaxes, one a part of a place: the just-in-time classifier's training.
//
// One call does a step's gradient and update, so that Python's lock is taken once a step and not once an operator. The
// gradient is in closed form: of the cross-entropy with soft targets it is prediction - target at the logits.
//
// inputs    (N, I)
// targets   (N, P, K), a distribution of each part
// weights   first (I, 64), first bias (64), second (P, K, 64), second bias (P, K), one after the other
// moments   as weights, first and second of the gradient
// chosen    (B), of 0 .. N - 1: the places that the step looks at

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "vectors.hpp"

namespace {

constexpr int64_t HIDDEN = 64;
constexpr int64_t BLOCK = 32;  // places whose share of the gradient is added at once
constexpr int64_t ROWS = 4, VECTORS = 2;  // of a product, in registers while its sums run; the loops over them are unrolled
static_assert(ROWS == 4 && VECTORS == 2);  // as those say
constexpr float FIRST_DECAY = 0.9f, SECOND_DECAY = 0.999f, TINY = 1e-8f;

template <Cpu CPU>
constexpr int64_t COLUMNS = VECTORS * LANES<float, CPU>;
static_assert(HIDDEN % COLUMNS<Cpu::avx512> == 0 && HIDDEN % COLUMNS<Cpu::any> == 0);

// target (COUNT, COLUMNS) += left (COUNT, depth) right (depth, COLUMNS); left is a function of row and depth.
template <Cpu CPU, int64_t COUNT, typename Left>
ALWAYS_INLINE void add_tile(
    int64_t depth, const Left& left, const float* right, int64_t right_stride, float* target, int64_t target_stride) {
  constexpr int64_t lanes = LANES<float, CPU>;
  Vector<float, CPU> sums[COUNT][VECTORS];
#pragma GCC unroll 4
  for (int64_t row = 0; row < COUNT; ++row) {
#pragma GCC unroll 2
    for (int64_t index = 0; index < VECTORS; ++index) {
      sums[row][index] = load<float, CPU>(target + row * target_stride + index * lanes);
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
#pragma GCC unroll 4
    for (int64_t row = 0; row < COUNT; ++row) {
      const float factor = left(row, k);
#pragma GCC unroll 2
      for (int64_t index = 0; index < VECTORS; ++index) {
        sums[row][index] += factor * load<float, CPU>(right + k * right_stride + index * lanes);
      }
    }
  }
#pragma GCC unroll 4
  for (int64_t row = 0; row < COUNT; ++row) {
#pragma GCC unroll 2
    for (int64_t index = 0; index < VECTORS; ++index) {
      store(target + row * target_stride + index * lanes, sums[row][index]);
    }
  }
}

// target (rows, columns) += left (rows, depth) right (depth, columns); columns are a multiple of COLUMNS.
template <Cpu CPU, typename Left>
ALWAYS_INLINE void add_product(
    int64_t rows, int64_t depth, int64_t columns, const Left& left, const float* right, float* target) {
  for (int64_t column = 0; column < columns; column += COLUMNS<CPU>) {
    int64_t row = 0;
    const auto from_row = [&](int64_t index, int64_t k) ALWAYS_INLINE_LAMBDA { return left(row + index, k); };
    for (; row + ROWS <= rows; row += ROWS) {
      add_tile<CPU, ROWS>(depth, from_row, right + column, columns, target + row * columns + column, columns);
    }
    for (; row < rows; ++row) {
      add_tile<CPU, 1>(depth, from_row, right + column, columns, target + row * columns + column, columns);
    }
  }
}

struct TrainingSizes {
  int64_t inputs, parts, classes, batch, step;  // steps are counted from 1
  float learning_rate, weight_decay;
};

struct Step {
  TrainingSizes size;
  const float *inputs, *targets;
  const int64_t* chosen;
  float *weights, *first_moment, *second_moment;

  int64_t outputs() const { return size.parts * size.classes; }
  int64_t second_offset() const { return (size.inputs + 1) * HIDDEN; }
  int64_t second_bias_offset() const { return second_offset() + outputs() * HIDDEN; }
  int64_t parameter_count() const { return second_bias_offset() + outputs(); }

  // parallel_rows' form; a step is one row.
  template <Cpu CPU>
  ALWAYS_INLINE void compute(int64_t, int64_t) const {
    std::vector<float> gradient(parameter_count());
    add_gradients<CPU>(gradient.data());
    update(gradient.data());
  }

  template <Cpu CPU>
  ALWAYS_INLINE void add_gradients(float* gradient) const {
    const int64_t width = (outputs() + COLUMNS<CPU> - 1) / COLUMNS<CPU> * COLUMNS<CPU>;
    const std::vector<float> second_by_unit = transposed_second(width);
    std::vector<float> errors(BLOCK * width);
    for (int64_t start = 0; start < size.batch; start += BLOCK) {
      const int64_t count = std::min(BLOCK, size.batch - start);
      add_gradients_of_block<CPU>(chosen + start, count, width, second_by_unit.data(), errors.data(), gradient);
    }
  }

  // The second layer's weights (HIDDEN, width), zeros behind the outputs.
  std::vector<float> transposed_second(int64_t width) const {
    std::vector<float> transposed(HIDDEN * width);
    for (int64_t output = 0; output < outputs(); ++output) {
      for (int64_t unit = 0; unit < HIDDEN; ++unit) {
        transposed[unit * width + output] = weights[second_offset() + output * HIDDEN + unit];
      }
    }
    return transposed;
  }

  template <Cpu CPU>
  ALWAYS_INLINE void add_gradients_of_block(
      const int64_t* chosen_here, int64_t count, int64_t width, const float* second_by_unit, float* errors,
      float* gradient) const {
    float hidden[BLOCK * HIDDEN], slopes[BLOCK * HIDDEN] = {};
    const float* rows[BLOCK];
    for (int64_t place = 0; place < count; ++place) {
      rows[place] = inputs + chosen_here[place] * size.inputs;
      std::copy_n(weights + size.inputs * HIDDEN, HIDDEN, hidden + place * HIDDEN);
      std::copy_n(weights + second_bias_offset(), outputs(), errors + place * width);
      std::fill(errors + place * width + outputs(), errors + (place + 1) * width, 0.0f);
    }
    const auto input = [&](int64_t place, int64_t k) ALWAYS_INLINE_LAMBDA { return rows[place][k]; };
    const auto unit = [&](int64_t place, int64_t k) ALWAYS_INLINE_LAMBDA { return hidden[place * HIDDEN + k]; };
    const auto error = [&](int64_t place, int64_t k) ALWAYS_INLINE_LAMBDA { return errors[place * width + k]; };
    add_product<CPU>(count, size.inputs, HIDDEN, input, weights, hidden);
    for (int64_t index = 0; index < count * HIDDEN; ++index) hidden[index] = std::max(hidden[index], 0.0f);
    add_product<CPU>(count, HIDDEN, width, unit, second_by_unit, errors);
    for (int64_t place = 0; place < count; ++place) {
      turn_into_errors<CPU>(errors + place * width, width, targets + chosen_here[place] * outputs());
    }
    add_product<CPU>(count, outputs(), HIDDEN, error, weights + second_offset(), slopes);
    for (int64_t index = 0; index < count * HIDDEN; ++index) slopes[index] = hidden[index] > 0 ? slopes[index] : 0;

    const auto by_input = [&](int64_t row, int64_t place) ALWAYS_INLINE_LAMBDA { return rows[place][row]; };
    const auto by_output = [&](int64_t row, int64_t place) ALWAYS_INLINE_LAMBDA { return errors[place * width + row]; };
    const auto one = [](int64_t, int64_t) ALWAYS_INLINE_LAMBDA { return 1.0f; };
    add_product<CPU>(size.inputs, count, HIDDEN, by_input, slopes, gradient);
    add_product<CPU>(1, count, HIDDEN, one, slopes, gradient + size.inputs * HIDDEN);
    add_product<CPU>(outputs(), count, HIDDEN, by_output, hidden, gradient + second_offset());
    for (int64_t place = 0; place < count; ++place) {
      for (int64_t output = 0; output < outputs(); ++output) {
        gradient[second_bias_offset() + output] += errors[place * width + output];
      }
    }
  }

  // A place's scores become prediction - target, in place, divided by the batch's parts.
  template <Cpu CPU>
  ALWAYS_INLINE void turn_into_errors(float* scores, int64_t width, const float* target) const {
    for (float* part = scores; part < scores + outputs(); part += size.classes) {
      const float largest = *std::max_element(part, part + size.classes);
      for (int64_t label = 0; label < size.classes; ++label) part[label] -= largest;
    }
    for (int64_t index = 0; index < width; index += LANES<float, CPU>) {
      store(scores + index, exponential<CPU>(load<float, CPU>(scores + index)));
    }
    const float share = 1.0f / static_cast<float>(size.batch * size.parts);
    for (float* part = scores; part < scores + outputs(); part += size.classes, target += size.classes) {
      const float sum = std::accumulate(part, part + size.classes, 0.0f);
      for (int64_t label = 0; label < size.classes; ++label) part[label] = (part[label] / sum - target[label]) * share;
    }
  }

  ALWAYS_INLINE void update(const float* gradient) const {
    const auto step = static_cast<float>(size.step);
    const float first_scale = 1.0f / (1.0f - std::pow(FIRST_DECAY, step));
    const float second_scale = 1.0f / (1.0f - std::pow(SECOND_DECAY, step));
    const int64_t count = parameter_count();
    for (int64_t index = 0; index < count; ++index) {
      const float slope = gradient[index] + size.weight_decay * weights[index];
      first_moment[index] = FIRST_DECAY * first_moment[index] + (1 - FIRST_DECAY) * slope;
      second_moment[index] = SECOND_DECAY * second_moment[index] + (1 - SECOND_DECAY) * slope * slope;
      weights[index] -= size.learning_rate * first_moment[index] * first_scale /
                        (std::sqrt(second_moment[index] * second_scale) + TINY);
    }
  }
};

}  // namespace

extern "C" __attribute__((visibility("default"))) void step_classifier(
    const float* inputs, const float* targets, const int64_t* chosen, float* weights, float* first_moment,
    float* second_moment, TrainingSizes size) {
  parallel_rows(1, 1, Step{size, inputs, targets, chosen, weights, first_moment, second_moment});
}
