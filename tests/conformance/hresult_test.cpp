// SPDX-License-Identifier: MIT
// Decisions 5, 6 and D3: every refusal has its HRESULT, none is E_FAIL, none counts as success.
#include "com/hresult.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace memreeve::com {
namespace {

struct row {
    errc code;
    std::uint32_t expected;
};
constexpr row table[] = {
    {errc::invalid_argument, 0x80070057},
    {errc::invalid_address, 0x800701E7},
    {errc::bad_length, 0x80070018},
    {errc::no_access, 0x800703E6},
    {errc::null_pointer, 0x80004003},
    {errc::not_ours, 0x80131022},
    {errc::out_of_address_space, 0x8007000E},
    {errc::over_budget, 0x8007000E},
    {errc::privilege_not_held, 0x80070522},
    {errc::not_supported, 0x80070032},
    {errc::busy, 0x800701E7},
    {errc::forbidden, 0x8007000E},
    {errc::no_interface, 0x80004002},
    {errc::over_quota, 0x800705AD},
    {errc::not_locked, 0x8007009E},
};

TEST(hresult, decisions_5_and_6_every_errc_has_its_code) {
    unsigned next = 0;
    for (const row& r : table) {
        EXPECT_EQ(static_cast<unsigned>(r.code), next++)
            << "the table follows errc and leaves none out";
        EXPECT_EQ(static_cast<std::uint32_t>(to_hresult(r.code)), r.expected) << text(r.code);
    }
    EXPECT_EQ(std::string(text(static_cast<errc>(next))), "unknown") << "errc has grown: add a row";
}

TEST(hresult, D3_no_refusal_is_E_FAIL_or_success) {
    for (const row& r : table) {
        EXPECT_LT(to_hresult(r.code), 0);
        EXPECT_NE(to_hresult(r.code), E_FAIL);
        EXPECT_NE(to_hresult(r.code), HOST_E_CLRNOTAVAILABLE);
    }
}

// hosting-api 1.2
TEST(hresult, values_are_microsofts) {
    EXPECT_EQ(S_OK, 0);
    EXPECT_EQ(S_FALSE, 1);
    EXPECT_EQ(static_cast<std::uint32_t>(E_NOTIMPL), 0x80004001u);
    EXPECT_EQ(static_cast<std::uint32_t>(E_UNEXPECTED), 0x8000FFFFu);
    EXPECT_EQ(static_cast<std::uint32_t>(E_ACCESSDENIED), 0x80070005u);
    EXPECT_EQ(static_cast<std::uint32_t>(HOST_E_DEADLOCK), 0x80131020u);
    EXPECT_EQ(static_cast<std::uint32_t>(HOST_E_INVALIDOPERATION), 0x80131022u);
    EXPECT_EQ(static_cast<std::uint32_t>(HOST_E_CLRNOTAVAILABLE), 0x80131023u);
    EXPECT_EQ(static_cast<std::uint32_t>(HOST_E_EXITPROCESS_OUTOFMEMORY), 0x8013102Au);
    EXPECT_EQ(static_cast<std::uint32_t>(HOST_E_EXITPROCESS_STACKOVERFLOW), 0x8013102Bu);
}

} // namespace
} // namespace memreeve::com
