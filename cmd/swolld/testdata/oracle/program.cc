#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <iostream>
#include <mutex>
#include <thread>
#include <vector>

int main()
{
	std::ofstream("cc.out") << std::string(20000, 'x');
	std::ifstream in("cc.out");
	std::string s;
	in >> s;
	for (auto &e : std::filesystem::recursive_directory_iterator("tree"))
		if (e.is_regular_file())
			(void)e.file_size();
	std::vector<std::future<int>> f;
	for (int i = 0; i < 4; i++)
		f.push_back(std::async(std::launch::async, [i] {
			std::this_thread::sleep_for(std::chrono::milliseconds(i));
			return i;
		}));
	int sum = 0;
	for (auto &x : f)
		sum += x.get();
	std::cout << s.size() << " " << sum << std::endl;
	try { throw std::runtime_error("x"); } catch (std::exception &) {}
	std::filesystem::remove("cc.out");
}
