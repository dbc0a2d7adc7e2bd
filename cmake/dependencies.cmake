# All libraries are packages of the distribution; tools/bootstrap.sh installs them.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(CURL REQUIRED)
find_package(LibArchive REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
# Embedded into the page that `report generate` writes.
find_file(MARLIN_CHART_JS NAMES chart.min.js chart.umd.min.js
  PATHS /usr/share/javascript/chart.js /usr/share/nodejs/chart.js/dist NO_CACHE REQUIRED NO_DEFAULT_PATH)
if(MARLIN_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()
