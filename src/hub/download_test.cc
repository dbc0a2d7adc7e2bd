#include "hub/download.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>

#include "base/file.h"
#include "base/test_environment.h"
#include "base/test_text.h"
#include "hub/http_test_server.h"
#include "hub/response_head.h"

namespace marlin {
namespace {

namespace fs = std::filesystem;
using Connection = HttpTestServer::Connection;

std::string Pattern(std::size_t size, char first) {
  std::string text;
  for (std::size_t i = 0; i < size; ++i) text += static_cast<char>(first + i * 7 % 23);
  return text;
}

class DownloadTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "marlin-download-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override {
    g_interrupted = false;
    fs::remove_all(folder_);
  }
  Download Make(const std::string& url) const {
    Download download;
    download.url = url;
    download.target = target();
    download.max_bytes = 1 << 20;
    download.stage = "download file";
    download.attempts = 3;
    download.first_pause = std::chrono::milliseconds(5);
    return download;
  }
  fs::path target() const { return folder_ / "deep" / "file"; }
  fs::path part() const { return folder_ / "deep" / "file.part"; }
  std::string Content() const {
    auto text = ReadFile(target());
    return text ? *text : "(no file)";
  }
  fs::path folder_;
};

TEST_F(DownloadTest, BringsTheWholeFile) {
  const std::string body = Pattern(300'000, 'a');
  const HttpTestServer server(
      [&](int, const std::string&, const Connection& c) { c.Send(HttpResponse("200 OK", body)); });
  Progress last;
  const auto status = Fetch(Make(server.url() + "/file"), [&](const Progress& progress) { last = progress; });
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(Content(), body);
  EXPECT_FALSE(fs::exists(part()));
  EXPECT_EQ(last.stage, "download file");
  EXPECT_EQ(last.done, body.size());
  EXPECT_EQ(last.total, body.size());
  EXPECT_EQ(last.unit, "bytes");
}

TEST_F(DownloadTest, NoLengthEndsWithTheConnection) {
  const HttpTestServer server(
      [](int, const std::string&, const Connection& c) { c.Send("HTTP/1.0 200 OK\r\n\r\nshort"); });
  ASSERT_TRUE(Fetch(Make(server.url()), nullptr));
  EXPECT_EQ(Content(), "short");
}

TEST_F(DownloadTest, TrailersAndInterimHeadsAreNotTheHead) {
  const HttpTestServer server([](int, const std::string&, const Connection& c) {
    c.Send(
        "HTTP/1.1 103 Early Hints\r\nETag: \"hint\"\r\n\r\n"
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: ETag\r\n\r\n"
        "5\r\nhello\r\n6\r\n world\r\n0\r\nETag: \"trailer\"\r\n\r\n");
  });
  const auto status = Fetch(Make(server.url()), nullptr);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(Content(), "hello world");
}

TEST_F(DownloadTest, AnAnswerInPiecesThatStopsEarlyIsNotAFile) {
  const HttpTestServer server([](int, const std::string&, const Connection& c) {
    c.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
  });
  EXPECT_FALSE(Fetch(Make(server.url()), nullptr));
  EXPECT_FALSE(fs::exists(target()));
}

TEST_F(DownloadTest, ContinuesAfterACutConnection) {
  const std::string body = Pattern(50'000, 'a');
  const HttpTestServer server([&](int number, const std::string& request, const Connection& c) {
    if (number == 0) return ServeCut(body, 20'000, "ETag: \"v1\"\r\n", c);
    ServeFile(body, "v1", request, c);
  });
  ASSERT_TRUE(Fetch(Make(server.url()), nullptr));
  EXPECT_EQ(Content(), body);
  ASSERT_EQ(server.requests().size(), 2u);
  EXPECT_TRUE(Has(server.requests()[1], "Range: bytes=20000-\r\n")) << server.requests()[1];
  EXPECT_TRUE(Has(server.requests()[1], "If-Range: \"v1\"\r\n"));
}

TEST_F(DownloadTest, ContinuesWhatAnEarlierCallLeftBehind) {
  const std::string body = Pattern(50'000, 'a');
  const HttpTestServer server([&](int number, const std::string& request, const Connection& c) {
    if (number == 0) return ServeCut(body, 20'000, "ETag: \"v1\"\r\n", c);
    ServeFile(body, "v1", request, c);
  });
  Download once = Make(server.url());
  once.attempts = 1;
  EXPECT_FALSE(Fetch(once, nullptr));
  EXPECT_FALSE(fs::exists(target()));
  EXPECT_EQ(fs::file_size(part()), 20'000u);
  ASSERT_TRUE(Fetch(once, nullptr));
  EXPECT_EQ(Content(), body);
  EXPECT_TRUE(Has(server.requests()[1], "Range: bytes=20000-\r\n"));
  EXPECT_FALSE(fs::exists(part().string() + ".from"));
}

TEST_F(DownloadTest, StartsOverWhenTheFileChanged) {
  const std::string old_body = Pattern(50'000, 'a');
  const std::string new_body = Pattern(40'000, 'c');
  const HttpTestServer server([&](int number, const std::string& request, const Connection& c) {
    if (number == 0) return ServeCut(old_body, 20'000, "ETag: \"v1\"\r\n", c);
    ServeFile(new_body, "v2", request, c);
  });
  ASSERT_TRUE(Fetch(Make(server.url()), nullptr));
  EXPECT_EQ(Content(), new_body);
}

TEST_F(DownloadTest, NeverJoinsVersionsOfAServerThatIgnoresIfRange) {
  const std::string old_body = Pattern(50'000, 'a');
  const std::string new_body = Pattern(50'000, 'c');
  const HttpTestServer server([&](int number, const std::string& request, const Connection& c) {
    if (number == 0) return ServeCut(old_body, 20'000, "ETag: \"v1\"\r\n", c);
    if (!Has(request, "Range: ")) return ServeFile(new_body, "v2", request, c);
    c.Send(HttpResponse("206 Partial Content", std::string_view(new_body).substr(20'000),
                        "ETag: \"v2\"\r\nContent-Range: bytes 20000-49999/50000\r\n"));
  });
  ASSERT_TRUE(Fetch(Make(server.url()), nullptr));
  EXPECT_EQ(Content(), new_body);
}

TEST_F(DownloadTest, StartsOverWhenTheRangeIsRefusedOrWrong) {
  const std::string body = Pattern(50'000, 'a');
  for (const std::string answer : {"416 Range Not Satisfiable", "206 Partial Content"}) {
    const HttpTestServer server([&](int number, const std::string& request, const Connection& c) {
      if (number == 0) return ServeCut(body, 20'000, "ETag: \"v1\"\r\n", c);
      if (number == 1) {
        return void(c.Send(HttpResponse(answer, "xxxxx", "ETag: \"v1\"\r\nContent-Range: bytes 7-11/50000\r\n")));
      }
      ServeFile(body, "v1", request, c);
    });
    ASSERT_TRUE(Fetch(Make(server.url()), nullptr)) << answer;
    EXPECT_EQ(Content(), body) << answer;
    fs::remove(target());
  }
}

TEST_F(DownloadTest, WithoutAMarkNothingIsContinued) {
  const std::string body = Pattern(50'000, 'a');
  for (const std::string header : {"", "ETag: W/\"weak\"\r\n"}) {
    const HttpTestServer server([&](int number, const std::string&, const Connection& c) {
      if (number == 0) return ServeCut(body, 20'000, header, c);
      c.Send(HttpResponse("200 OK", body, header));
    });
    ASSERT_TRUE(Fetch(Make(server.url()), nullptr));
    EXPECT_EQ(Content(), body);
    EXPECT_FALSE(Has(server.requests()[1], "Range"));
    fs::remove(target());
  }
}

TEST_F(DownloadTest, AFileShorterThanPromisedIsAnErrorAndNoFile) {
  const std::string body = Pattern(50'000, 'a');
  const HttpTestServer server([&](int, const std::string&, const Connection& c) { ServeCut(body, 49'999, "", c); });
  const auto status = Fetch(Make(server.url()), nullptr);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kInput);
  EXPECT_TRUE(Has(status.error().message, "tried 3 times")) << status.error().message;
  EXPECT_EQ(server.requests().size(), 3u);
  EXPECT_TRUE(fs::is_empty(target().parent_path()));
}

TEST_F(DownloadTest, RefusalsAreNotTriedAgain) {
  for (const std::string answer : {"404 Not Found", "401 Unauthorized", "403 Forbidden", "418 I'm a teapot"}) {
    const HttpTestServer server(
        [&](int, const std::string&, const Connection& c) { c.Send(HttpResponse(answer, "page")); });
    const auto status = Fetch(Make(server.url() + "/file"), nullptr);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kInput);
    EXPECT_TRUE(Has(status.error().message, "HTTP " + answer.substr(0, 3))) << status.error().message;
    EXPECT_TRUE(Has(status.error().message, server.url() + "/file"));
    EXPECT_EQ(server.requests().size(), 1u) << answer;
    EXPECT_FALSE(fs::exists(target()));
  }
}

TEST_F(DownloadTest, ABusyServerIsAskedAgain) {
  const HttpTestServer server([](int number, const std::string&, const Connection& c) {
    if (number < 2) return void(c.Send(HttpResponse(number == 0 ? "500 Oops" : "503 Busy", "page")));
    c.Send(HttpResponse("200 OK", "content"));
  });
  ASSERT_TRUE(Fetch(Make(server.url()), nullptr));
  EXPECT_EQ(Content(), "content");
  EXPECT_EQ(server.requests().size(), 3u);
}

TEST_F(DownloadTest, ABusyServerIsNotAskedForever) {
  const HttpTestServer server(
      [](int, const std::string&, const Connection& c) { c.Send(HttpResponse("503 Busy", "")); });
  const auto status = Fetch(Make(server.url()), nullptr);
  ASSERT_FALSE(status);
  EXPECT_TRUE(Has(status.error().message, "HTTP 503")) << status.error().message;
  EXPECT_EQ(server.requests().size(), 3u);
}

TEST_F(DownloadTest, AnExistingFileSurvivesAFailure) {
  fs::create_directories(target().parent_path());
  ASSERT_TRUE(WriteFileAtomic(target(), "precious"));
  const HttpTestServer server([](int, const std::string&, const Connection& c) { c.Send(HttpResponse("404 No", "")); });
  EXPECT_FALSE(Fetch(Make(server.url()), nullptr));
  EXPECT_EQ(Content(), "precious");
}

TEST_F(DownloadTest, FollowsRedirects) {
  const HttpTestServer server([](int number, const std::string& request, const Connection& c) {
    if (number == 0) return void(c.Send(HttpResponse("302 Found", "see there", "Location: /there\r\n")));
    c.Send(HttpResponse("200 OK", request.substr(0, request.find(' ', 4))));
  });
  ASSERT_TRUE(Fetch(Make(server.url() + "/here"), nullptr));
  EXPECT_EQ(Content(), "GET /there");
}

TEST_F(DownloadTest, DoesNotFollowToAnUnencryptedPlaceOrInCircles) {
  for (const std::string place : {"http://example.invalid/file", "ftp://127.0.0.1/file", "file:///etc/hostname"}) {
    const HttpTestServer server([&](int, const std::string&, const Connection& c) {
      c.Send(HttpResponse("302 Found", "", "Location: " + place + "\r\n"));
    });
    const auto status = Fetch(Make(server.url()), nullptr);
    ASSERT_FALSE(status);
    EXPECT_TRUE(Has(status.error().message, "not https")) << status.error().message;
    EXPECT_EQ(server.requests().size(), 1u);
  }
  const HttpTestServer server([](int, const std::string&, const Connection& c) {
    c.Send(HttpResponse("302 Found", "", "Location: /again\r\n"));
  });
  const auto status = Fetch(Make(server.url()), nullptr);
  ASSERT_FALSE(status);
  EXPECT_TRUE(Has(status.error().message, "redirects")) << status.error().message;
  EXPECT_EQ(server.requests().size(), 6u);
}

TEST_F(DownloadTest, ABodyWithoutEndIsCutAtTheLimit) {
  const HttpTestServer server([](int, const std::string&, const Connection& c) {
    c.Send("HTTP/1.1 200 OK\r\nETag: \"v\"\r\nConnection: close\r\n\r\n");
    const std::string block = Pattern(1 << 16, 'a');
    while (c.Send(block)) {
    }
  });
  const auto status = Fetch(Make(server.url()), nullptr);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kInput);
  EXPECT_TRUE(Has(status.error().message, "longer than the 1048576 bytes")) << status.error().message;
  EXPECT_TRUE(fs::is_empty(target().parent_path()));
}

TEST_F(DownloadTest, ADeclaredLengthAboveTheLimitIsRefusedBeforeTheBody) {
  const HttpTestServer server([](int, const std::string&, const Connection& c) {
    c.Send("HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\nx");
  });
  const auto status = Fetch(Make(server.url()), nullptr);
  ASSERT_FALSE(status);
  EXPECT_TRUE(Has(status.error().message, "longer than")) << status.error().message;
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST_F(DownloadTest, AnInterruptEndsASlowBodySoonAndKeepsThePart) {
  const std::string body = Pattern(50'000, 'a');
  const HttpTestServer server([&](int number, const std::string& request, const Connection& c) {
    if (number > 0) return ServeFile(body, "v1", request, c);
    ServeCut(body, 1000, "ETag: \"v1\"\r\n", c);
    for (std::size_t i = 1000; i < body.size() && c.Send(body.substr(i, 1)); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  std::thread user([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    g_interrupted = true;
  });
  const auto begin = std::chrono::steady_clock::now();
  const auto status = Fetch(Make(server.url()), nullptr);
  user.join();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kInterrupted);
  EXPECT_FALSE(fs::exists(target()));
  EXPECT_GE(fs::file_size(part()), 1000u);
  g_interrupted = false;
  ASSERT_TRUE(Fetch(Make(server.url()), nullptr));
  EXPECT_EQ(Content(), body);
  EXPECT_TRUE(Has(server.requests()[1], "Range: bytes="));
}

TEST_F(DownloadTest, ASilentServerIsALostConnection) {
  const HttpTestServer server([](int, const std::string&, const Connection& c) {
    c.Send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx");
    for (int i = 0; i < 500 && !c.stopping(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  });
  Download download = Make(server.url());
  download.attempts = 1;
  download.stall_timeout = std::chrono::seconds(1);
  const auto status = Fetch(download, nullptr);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kInput);
  EXPECT_TRUE(Has(status.error().message, "sent nothing for 1 s")) << status.error().message;
}

TEST_F(DownloadTest, NobodyListening) {
  std::string url;
  {
    const HttpTestServer server([](int, const std::string&, const Connection&) {});
    url = server.url();
  }
  const auto status = Fetch(Make(url), nullptr);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kInput);
  EXPECT_TRUE(Has(status.error().message, "cannot connect to 127.0.0.1")) << status.error().message;
}

TEST_F(DownloadTest, AnAnswerThatIsNotHttp) {
  const HttpTestServer server([](int, const std::string&, const Connection& c) { c.Send("SSH-2.0-OpenSSH\r\n"); });
  const auto status = Fetch(Make(server.url()), nullptr);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kInput);
  EXPECT_FALSE(fs::exists(target()));
}

TEST_F(DownloadTest, AFullDiskIsAResourceError) {
  const std::string body = Pattern(300'000, 'a');
  const HttpTestServer server(
      [&](int, const std::string&, const Connection& c) { c.Send(HttpResponse("200 OK", body)); });
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 100'000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto status = Fetch(Make(server.url()), nullptr);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kResource);
  EXPECT_TRUE(Has(status.error().message, "free some space")) << status.error().message;
  EXPECT_FALSE(fs::exists(target()));
}

TEST_F(DownloadTest, AFolderThatCannotBeMadeIsNamed) {
  ASSERT_TRUE(WriteFileAtomic(folder_ / "deep", "a file where a folder should be"));
  const HttpTestServer server(
      [](int, const std::string&, const Connection& c) { c.Send(HttpResponse("200 OK", "x")); });
  const auto status = Fetch(Make(server.url()), nullptr);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kInput);
  EXPECT_TRUE(Has(status.error().message, (folder_ / "deep").string())) << status.error().message;
  EXPECT_TRUE(server.requests().empty());
}

TEST_F(DownloadTest, WaitsForAnotherProgramWithTheSameFile) {
  const HttpTestServer server(
      [](int, const std::string&, const Connection& c) { c.Send(HttpResponse("200 OK", "x")); });
  fs::create_directories(target().parent_path());
  const int other = ::open(part().c_str(), O_RDWR | O_CREAT, 0644);
  ASSERT_EQ(::flock(other, LOCK_EX), 0);
  std::thread release([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    EXPECT_TRUE(server.requests().empty());
    ::close(other);
  });
  const auto status = Fetch(Make(server.url()), nullptr);
  release.join();
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(Content(), "x");
}

TEST_F(DownloadTest, AProxyIsNotAskedForThisMachine) {
  const HttpTestServer server(
      [](int, const std::string&, const Connection& c) { c.Send(HttpResponse("200 OK", "x")); });
  const SavedEnvironment saved{"http_proxy"};
  ::setenv("http_proxy", "http://127.0.0.1:1", 1);
  const auto status = Fetch(Make(server.url()), nullptr);
  EXPECT_TRUE(status) << status.error().message;
}

TEST_F(DownloadTest, OnlyHttpsAndThisMachine) {
  for (const char* url :
       {"https://example.org/x", "http://127.0.0.1:80/", "http://localhost/x", "http://[::1]:8080/x"}) {
    EXPECT_TRUE(IsFetchable(url)) << url;
  }
  for (const char* url :
       {"http://example.org/x", "http://127.example.org/", "http://localhost.example.org/", "ftp://127.0.0.1/",
        "http://localhost@example.org/", "file:///etc/hostname", "example.org", "https://", ""}) {
    EXPECT_FALSE(IsFetchable(url)) << url;
  }
  const auto status = Fetch(Make("http://example.org/file"), nullptr);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUsage);
}

}  // namespace
}  // namespace marlin
