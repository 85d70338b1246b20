// The stamp service on asio, as one would write it. usage: asio_server [PORT] (0: any, printed).
#include <array>
#include <asio.hpp>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <sys/resource.h>

using asio::ip::tcp;

class session : public std::enable_shared_from_this<session>
{
      public:
	explicit session(tcp::socket s) : socket(std::move(s))
	{
	}

	void read()
	{
		auto self = shared_from_this();
		socket.async_read_some(asio::buffer(chunk), [this, self](asio::error_code err, std::size_t n) {
			if (!err)
				answer(n);
		});
	}

      private:
	void answer(std::size_t n)
	{
		std::time_t now = std::time(nullptr);
		char text[32];
		ctime_r(&now, text);
		std::copy_n(text, stamp.size(), stamp.begin());
		std::array<asio::const_buffer, 2> both{ asio::buffer(stamp), asio::buffer(chunk, n) };
		auto self = shared_from_this();
		asio::async_write(socket, both, [this, self](asio::error_code err, std::size_t) {
			if (!err)
				read();
		});
	}

	tcp::socket socket;
	std::array<char, 24> stamp;
	std::array<char, 1024> chunk;
};

static void accept(tcp::acceptor &listener)
{
	listener.async_accept([&listener](asio::error_code err, tcp::socket s) {
		if (!err) {
			s.set_option(tcp::no_delay(true), err);
			std::make_shared<session>(std::move(s))->read();
		}
		accept(listener);
	});
}

int main(int argc, char **argv)
{
	rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	auto port = static_cast<unsigned short>(argc > 1 ? std::atoi(argv[1]) : 9999);
	asio::io_context context(1);
	tcp::acceptor listener(context, tcp::endpoint(asio::ip::address_v4::loopback(), port));
	listener.listen(4096);
	std::printf("listening %d\n", listener.local_endpoint().port());
	std::fflush(stdout);
	accept(listener);
	context.run();
}
