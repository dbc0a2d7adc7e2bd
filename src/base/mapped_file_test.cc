#include "base/mapped_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace marlin {
namespace {

TEST(MappedFile, WhatIsForgottenIsReadAgain) {
  const auto path = std::filesystem::path(testing::TempDir()) / "marlin_mapped_file_test";
  std::string bytes(5 * 65536 + 7, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 % 251);
  std::ofstream(path, std::ios::binary) << bytes;
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok());
  const auto all = [&] { return std::string(file->bytes().begin(), file->bytes().end()); };
  ASSERT_EQ(all(), bytes);
  file->Forget(file->bytes().subspan(1000, 4 * 65536));
  EXPECT_EQ(all(), bytes);
  file->Forget(file->bytes());
  EXPECT_EQ(all(), bytes);
  file->Forget({});
  std::vector<std::uint8_t> elsewhere(3 * 65536, 7);
  file->Forget(elsewhere);
  EXPECT_EQ(elsewhere, std::vector<std::uint8_t>(3 * 65536, 7)) << "memory of another kind keeps its numbers";
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace marlin
