// The inner loops for any machine: vectors are single numbers. See isa.h.
#include "isa_table.h"

namespace pointkernels {

const IsaKernels<float> kScalarFloat = isa_table<float>();
const IsaKernels<double> kScalarDouble = isa_table<double>();

}  // namespace pointkernels
