#include "code_places.h"

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <sstream>
#include <vector>

namespace emulation {

namespace {

// The output lines of a shell command; none if it cannot be run.
std::vector<std::string> lines_of(const std::string& command) {
  std::vector<std::string> lines;
  FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return lines;
  char text[4096];
  while (std::fgets(text, sizeof(text), pipe) != nullptr) {
    std::string line(text);
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    line = line.substr(0, line.find(" (discriminator"));
    lines.push_back(line.rfind("./", 0) == 0 ? line.substr(2) : line);
  }
  pclose(pipe);
  return lines;
}

}  // namespace

std::string file_and_line(const void* place) {
  Dl_info library;
  if (dladdr(place, &library) == 0) return "an unknown place";
  std::ostringstream offset;
  offset << "0x" << std::hex << reinterpret_cast<uintptr_t>(place) - 1 - reinterpret_cast<uintptr_t>(library.dli_fbase);
  const std::string command = std::string("addr2line --inlines --exe='") + library.dli_fname + "' " + offset.str();
  // Innermost first; the functions of the emulation itself are of no interest.
  std::vector<std::string> callers;
  for (const std::string& line : lines_of(command + " 2>/dev/null")) {
    if (line.find("csrc/emulation/") == std::string::npos && line.find('?') == std::string::npos) {
      callers.push_back(line);
    }
  }
  if (callers.empty()) return std::string(library.dli_fname) + "+" + offset.str();
  return callers.size() == 1 ? callers.front() : callers.front() + " (within " + callers.back() + ")";
}

std::string function_name(const void* function) {
  Dl_info library;
  if (dladdr(function, &library) == 0) return "unknown";
  std::ostringstream offset;
  offset << "0x" << std::hex << reinterpret_cast<uintptr_t>(function) - reinterpret_cast<uintptr_t>(library.dli_fbase);
  const std::vector<std::string> lines = lines_of(std::string("addr2line --functions --demangle --exe='") +
                                                  library.dli_fname + "' " + offset.str() + " 2>/dev/null");
  if (lines.empty()) return "unknown";
  std::string name = lines.front();
  const std::string unnamed = "(anonymous namespace)::";
  const size_t begin = name.find(unnamed);
  if (begin != std::string::npos) name = name.substr(begin + unnamed.size());
  return name.substr(0, name.find('('));
}

}  // namespace emulation
