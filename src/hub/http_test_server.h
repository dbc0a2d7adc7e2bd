// For tests only: an HTTP server on the loopback interface that answers each request with a function of the test's, one
// request per connection. Connections that are open at the same time are served at the same time.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"

namespace marlin {

class HttpTestServer {
 public:
  class Connection {
   public:
    Connection(int fd, const std::atomic<bool>& stopping) : fd_(fd), stopping_(stopping) {}
    // False when the client has gone or the server is to stop.
    bool Send(std::string_view text) const {
      while (!text.empty() && !stopping_) {
        const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
        if (n <= 0) return false;
        text.remove_prefix(static_cast<std::size_t>(n));
      }
      return !stopping_;
    }
    bool stopping() const { return stopping_; }

   private:
    int fd_;
    const std::atomic<bool>& stopping_;
  };
  // `number` counts the requests from 0; `request` is the whole head.
  using Handler = std::function<void(int number, const std::string& request, const Connection& connection)>;

  explicit HttpTestServer(Handler handler) : handler_(std::move(handler)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    MARLIN_CHECK(::bind(listener_, generic, length) == 0 && ::listen(listener_, 8) == 0, "no loopback port");
    MARLIN_CHECK(::getsockname(listener_, generic, &length) == 0, "no port number");
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  HttpTestServer(const HttpTestServer&) = delete;
  HttpTestServer& operator=(const HttpTestServer&) = delete;
  ~HttpTestServer() {
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    for (std::thread& thread : connections_) thread.join();
    ::close(listener_);
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<std::string> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void Serve() {
    while (!stopping_) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      connections_.emplace_back([this, fd] { Answer(fd); });
    }
  }

  void Answer(int fd) {
    std::string request;
    char chunk[4096];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const ssize_t n = ::recv(fd, chunk, sizeof chunk, 0);
      if (n <= 0) break;
      request.append(chunk, static_cast<std::size_t>(n));
    }
    int number = 0;
    {
      const std::lock_guard lock(mutex_);
      number = static_cast<int>(requests_.size());
      requests_.push_back(request);
    }
    handler_(number, request, Connection(fd, stopping_));
    ::close(fd);
  }

  Handler handler_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;
  std::thread thread_;
  std::vector<std::thread> connections_;  // touched by thread_ alone until it has ended
};

// A response with its length and `headers` (each ending in \r\n).
inline std::string HttpResponse(const std::string& status, std::string_view body, const std::string& headers = "") {
  return "HTTP/1.1 " + status + "\r\nConnection: close\r\n" + headers +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

// Serves `body` with a strong ETag and honours Range the way a real server does.
inline void ServeFile(const std::string& body, const std::string& etag, const std::string& request,
                      const HttpTestServer::Connection& connection) {
  const std::string tag = "ETag: \"" + etag + "\"\r\n";
  const std::size_t range = request.find("Range: bytes=");
  if (range == std::string::npos || request.find("If-Range: \"" + etag + "\"") == std::string::npos) {
    connection.Send(HttpResponse("200 OK", body, tag));
    return;
  }
  const std::size_t begin = std::stoul(request.substr(range + 13));
  connection.Send(HttpResponse("206 Partial Content", std::string_view(body).substr(begin),
                               tag + "Content-Range: bytes " + std::to_string(begin) + "-" +
                                   std::to_string(body.size() - 1) + "/" + std::to_string(body.size()) + "\r\n"));
}

// Promises `body` and closes the connection after `sent` bytes.
inline void ServeCut(const std::string& body, std::size_t sent, const std::string& headers,
                     const HttpTestServer::Connection& connection) {
  const std::string whole = HttpResponse("200 OK", body, headers);
  connection.Send(std::string_view(whole).substr(0, whole.size() - body.size() + sent));
}

}  // namespace marlin
