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
#include <vector>

#include "vectors.hpp"

namespace {

constexpr int64_t HIDDEN = 64;
constexpr int64_t BLOCK = 4;  // places whose share of the gradient is added at once
constexpr float FIRST_DECAY = 0.9f, SECOND_DECAY = 0.999f, TINY = 1e-8f;

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
  int64_t parameter_count() const { return (size.inputs + 1 + outputs()) * HIDDEN + outputs(); }

  // parallel_rows' form; a step is one row.
  template <Cpu CPU>
  ALWAYS_INLINE void compute(int64_t, int64_t) const {
    std::vector<float> gradient(parameter_count());
    add_gradients<CPU>(gradient.data());
    update(gradient.data());
  }

  template <Cpu CPU>
  ALWAYS_INLINE void add_gradients(float* gradient) const {
    float* const first_bias = gradient + size.inputs * HIDDEN;
    std::vector<float> scores(outputs());
    float hidden[HIDDEN], slopes[BLOCK][HIDDEN];
    const float* rows[BLOCK];
    for (int64_t start = 0; start < size.batch; start += BLOCK) {
      const int64_t count = std::min(BLOCK, size.batch - start);
      for (int64_t place = 0; place < count; ++place) {
        rows[place] = inputs + chosen[start + place] * size.inputs;
        look<CPU>(rows[place], hidden);
        descend<CPU>(hidden, targets + chosen[start + place] * outputs(), scores.data(), gradient, slopes[place]);
        for (int64_t unit = 0; unit < HIDDEN; ++unit) first_bias[unit] += slopes[place][unit];
      }
      for (int64_t input = 0; input < size.inputs; ++input) {
        float* target = gradient + input * HIDDEN;
        for (int64_t unit = 0; unit < HIDDEN; unit += LANES<float, CPU>) {
          Vector<float, CPU> sum = load<float, CPU>(target + unit);
          for (int64_t place = 0; place < count; ++place) {
            sum += rows[place][input] * load<float, CPU>(slopes[place] + unit);
          }
          store(target + unit, sum);
        }
      }
    }
  }

  // The hidden units of one place.
  template <Cpu CPU>
  ALWAYS_INLINE void look(const float* row, float* hidden) const {
    constexpr int64_t lanes = LANES<float, CPU>, vectors = HIDDEN / lanes;
    Vector<float, CPU> sums[vectors];
    const float* bias = weights + size.inputs * HIDDEN;
#pragma GCC unroll 8
    for (int64_t index = 0; index < vectors; ++index) sums[index] = load<float, CPU>(bias + index * lanes);
    for (int64_t input = 0; input < size.inputs; ++input) {
#pragma GCC unroll 8
      for (int64_t index = 0; index < vectors; ++index) {
        sums[index] += row[input] * load<float, CPU>(weights + input * HIDDEN + index * lanes);
      }
    }
#pragma GCC unroll 8
    for (int64_t index = 0; index < vectors; ++index) {
      store(hidden + index * lanes, sums[index] > 0 ? sums[index] : Vector<float, CPU>{});
    }
  }

  // The second layer forwards and backwards: its gradient, and the slope at the hidden units.
  template <Cpu CPU>
  ALWAYS_INLINE void descend(
      const float* hidden, const float* target, float* scores, float* gradient, float* slope) const {
    constexpr int64_t lanes = LANES<float, CPU>;
    const int64_t second = (size.inputs + 1) * HIDDEN, second_bias = second + outputs() * HIDDEN;
    for (int64_t output = 0; output < outputs(); ++output) {
      Vector<float, CPU> products = {};
      for (int64_t unit = 0; unit < HIDDEN; unit += lanes) {
        products += load<float, CPU>(hidden + unit) * load<float, CPU>(weights + second + output * HIDDEN + unit);
      }
      float total = weights[second_bias + output];
      for (int64_t lane = 0; lane < lanes; ++lane) total += products[lane];
      scores[output] = total;
    }
    for (int64_t part = 0; part < size.parts; ++part) softmax(scores + part * size.classes);
    const float share = 1.0f / static_cast<float>(size.batch * size.parts);
    for (int64_t unit = 0; unit < HIDDEN; ++unit) slope[unit] = 0;
    for (int64_t output = 0; output < outputs(); ++output) {
      const float error = (scores[output] - target[output]) * share;
      float* row = gradient + second + output * HIDDEN;
      const float* weight = weights + second + output * HIDDEN;
      for (int64_t unit = 0; unit < HIDDEN; unit += lanes) {
        store(row + unit, load<float, CPU>(row + unit) + error * load<float, CPU>(hidden + unit));
        store(slope + unit, load<float, CPU>(slope + unit) + error * load<float, CPU>(weight + unit));
      }
      gradient[second_bias + output] += error;
    }
    for (int64_t unit = 0; unit < HIDDEN; ++unit) slope[unit] = hidden[unit] > 0 ? slope[unit] : 0;
  }

  // Of one part's scores, in place.
  ALWAYS_INLINE void softmax(float* scores) const {
    const float largest = *std::max_element(scores, scores + size.classes);
    float sum = 0;
    for (int64_t label = 0; label < size.classes; ++label) sum += scores[label] = std::exp(scores[label] - largest);
    for (int64_t label = 0; label < size.classes; ++label) scores[label] /= sum;
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
