// For tests only: a Hugging Face Hub on the loopback interface. Large files are redirected to a second server, as the
// Hub does it. Tests may answer single requests themselves, to break them.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/sha256.h"
#include "hub/http_test_server.h"

namespace marlin {

inline std::string GitHash(std::string_view content) {
  Digest digest(Digest::Kind::kSha1);
  digest.Update("blob " + std::to_string(content.size()) + std::string(1, '\0'));
  digest.Update(content);
  return digest.HexDigest();
}

class TestHub {
 public:
  using Connection = HttpTestServer::Connection;
  // Returns true when it has answered. `path` is that of the request, with its query.
  using Answerer = std::function<bool(const std::string& path, const std::string& request, const Connection&)>;

  // A repository `name` whose branch "main" is at a commit without files.
  explicit TestHub(std::string name)
      : name_(std::move(name)),
        cdn_([this](int, const std::string& request, const Connection& c) { AnswerCdn(request, c); }),
        hub_([this](int, const std::string& request, const Connection& c) { AnswerHub(request, c); }) {}

  std::string url() const { return hub_.url(); }
  std::string commit() const {
    const std::lock_guard lock(mutex_);
    return commit_;
  }
  // The branch moves to this commit; the files stay.
  void SetCommit(const std::string& commit) {
    const std::lock_guard lock(mutex_);
    commit_ = commit;
  }
  void Put(const std::string& file, const std::string& content, bool large = false) {
    const std::lock_guard lock(mutex_);
    files_[file] = {content, large};
  }
  // Only who sends this token is answered.
  void RequireToken(const std::string& token) { token_ = token; }
  // To be set before the first request.
  Answerer instead_of_hub;
  Answerer instead_of_cdn;

  std::vector<std::string> hub_requests() const { return hub_.requests(); }
  std::vector<std::string> cdn_requests() const { return cdn_.requests(); }

  // The model's answer, for tests that change it.
  nlohmann::json Info() const {
    const std::lock_guard lock(mutex_);
    nlohmann::json siblings = nlohmann::json::array();
    for (const auto& [name, file] : files_) {
      nlohmann::json entry{{"rfilename", name}, {"size", file.content.size()}, {"blobId", GitHash(file.content)}};
      if (file.large) {
        entry["blobId"] = GitHash("pointer to " + Sha256Hex(file.content));
        entry["lfs"] = {{"sha256", Sha256Hex(file.content)}, {"size", file.content.size()}, {"pointerSize", 130}};
      }
      siblings.push_back(entry);
    }
    return {{"id", name_}, {"modelId", name_}, {"sha", commit_}, {"private", false}, {"siblings", siblings}};
  }

 private:
  struct File {
    std::string content;
    bool large = false;
  };

  static std::string PathOf(const std::string& request) {
    const std::size_t begin = request.find(' ') + 1;
    return request.substr(begin, request.find(' ', begin) - begin);
  }

  static void Refuse(const std::string& status, const std::string& code, const Connection& c) {
    c.Send(HttpResponse(status, "{\"error\":\"no\"}", "X-Error-Code: " + code + "\r\n"));
  }

  void AnswerHub(const std::string& request, const Connection& c) {
    const std::string path = PathOf(request);
    if (instead_of_hub && instead_of_hub(path, request, c)) return;
    const bool known = !token_.empty() && request.find("Authorization: Bearer " + token_ + "\r\n") != std::string::npos;
    if (!token_.empty() && !known) return Refuse("401 Unauthorized", "GatedRepo", c);
    const std::string api = "/api/models/" + name_ + "/revision/";
    if (path.starts_with(api)) {
      const std::string revision = path.substr(api.size(), path.find('?') - api.size());
      if (revision != "main" && revision != commit()) return Refuse("404 Not Found", "RevisionNotFound", c);
      c.Send(HttpResponse("200 OK", Info().dump(), "Content-Type: application/json\r\n"));
      return;
    }
    const std::string resolve = "/" + name_ + "/resolve/" + commit() + "/";
    if (!path.starts_with(resolve)) return Refuse("404 Not Found", "RepoNotFound", c);
    const std::lock_guard lock(mutex_);
    const auto file = files_.find(path.substr(resolve.size()));
    if (file == files_.end()) return Refuse("404 Not Found", "EntryNotFound", c);
    if (!file->second.large) return ServeFile(file->second.content, GitHash(file->second.content), request, c);
    const std::string hash = Sha256Hex(file->second.content);
    c.Send(HttpResponse("302 Found", "",
                        "X-Repo-Commit: " + commit_ + "\r\nX-Linked-Etag: \"" + hash +
                            "\"\r\nX-Linked-Size: " + std::to_string(file->second.content.size()) +
                            "\r\nLocation: " + cdn_.url() + "/" + hash + "?signature=1\r\n"));
  }

  void AnswerCdn(const std::string& request, const Connection& c) {
    const std::string path = PathOf(request);
    if (instead_of_cdn && instead_of_cdn(path, request, c)) return;
    std::string content;
    {
      const std::lock_guard lock(mutex_);
      const std::string hash = path.substr(1, path.find('?') - 1);
      const auto file = std::ranges::find_if(
          files_, [&](const auto& entry) { return entry.second.large && Sha256Hex(entry.second.content) == hash; });
      if (file == files_.end()) return Refuse("404 Not Found", "", c);
      content = file->second.content;
    }
    ServeFile(content, "cdn-" + path.substr(1, 12), request, c);
  }

  std::string name_;
  std::string commit_ = std::string(40, '1');
  std::string token_;
  std::map<std::string, File> files_;
  mutable std::mutex mutex_;
  HttpTestServer cdn_;
  HttpTestServer hub_;
};

}  // namespace marlin
